// Tencent's own client at URL with TOKEN: waits for a message and answers it with TEXT, twice.
import { getConfig, getUpdates, notifyStart, notifyStop, sendTyping } from "./node_modules/@tencent-weixin/openclaw-weixin/dist/src/api/api.js";
import { sendMessageWeixin } from "./node_modules/@tencent-weixin/openclaw-weixin/dist/src/messaging/send.js";

const [baseUrl, token, answer] = process.argv.slice(2);
const at = { baseUrl, token };
const tell = (...what) => console.log(JSON.stringify(what));

tell("start", await notifyStart(at));
let cursor = "";
let message;
while (message === undefined) {
  const updates = await getUpdates({ ...at, get_updates_buf: cursor, timeoutMs: 5000 });
  cursor = updates.get_updates_buf;
  [message] = updates.msgs;
}
tell("message", message.from_user_id, message.item_list[0].text_item.text, String(message.message_id));
const about = { ilinkUserId: message.from_user_id, contextToken: message.context_token };
const { typing_ticket } = await getConfig({ ...at, ...about });
for (const status of [1, 2])
  await sendTyping({ ...at, body: { ilink_user_id: message.from_user_id, typing_ticket, status } });
for (const runId of [undefined, "run-1"]) {
  const opts = { ...at, contextToken: message.context_token, runId };
  tell("sent", Object.keys(await sendMessageWeixin({ to: message.from_user_id, text: answer, opts })));
}
tell("again", (await getUpdates({ ...at, get_updates_buf: cursor, timeoutMs: 5000 })).msgs.length);
tell("stop", await notifyStop(at));
