// A grammY bot at URL with TOKEN: says back what it hears, and ends when a button of its message has been pressed.
import { Bot, GrammyError, InlineKeyboard } from "grammy";

const [url, token] = process.argv.slice(2);
const bot = new Bot(token, { client: { apiRoot: url } });
const tell = (...what) => console.log(JSON.stringify(what));

bot.on("message:text", async (ctx) => {
  tell("message", ctx.chat.type, ctx.from.first_name, ctx.message.text, ctx.entities("bot_command").length);
  await ctx.replyWithChatAction("typing");
  const sent = await ctx.reply(ctx.message.text, {
    reply_parameters: { message_id: ctx.message.message_id },
    reply_markup: new InlineKeyboard().text("👍", "up:1"),
  });
  await ctx.api.editMessageText(sent.chat.id, sent.message_id, `听到：${ctx.message.text}`, {
    reply_markup: sent.reply_markup,
  });
  for (const [text, chat] of [["好", 999], ["😀".repeat(2049), ctx.chat.id]])
    await ctx.api.sendMessage(chat, text).catch((error) => tell("refused", error.error_code, error.description));
});
bot.on("message_reaction", (ctx) => tell("reaction", ctx.reactions().emojiAdded));
bot.on("callback_query:data", async (ctx) => {
  await ctx.answerCallbackQuery("谢谢");
  tell("pressed", ctx.callbackQuery.data, ctx.callbackQuery.message.text);
  await bot.stop();
});
bot.catch(({ error }) => {
  tell("error", String(error), error instanceof GrammyError ? error.parameters : {});
  process.exit(1);
});

await bot.api.setMyCommands([{ command: "help", description: "帮助" }]);
await bot.api.sendMessage(7, "早").catch((error) => tell("flood", error.error_code, error.parameters.retry_after));
await bot.start({ allowed_updates: ["message", "callback_query", "message_reaction"] });
