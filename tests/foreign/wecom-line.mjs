// Tencent's own SDK for smart bots at URL: answers a message as a growing stream, says something of itself, and ends.
import { createRequire } from "node:module";

const { WSClient } = createRequire(import.meta.url)("@wecom/aibot-node-sdk");
const [wsUrl, botId, secret] = process.argv.slice(2);
const tell = (...what) => console.log(JSON.stringify(what));
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const client = new WSClient({ wsUrl, botId, secret, heartbeatInterval: 50, maxAuthFailureAttempts: 0, logger: silent });

client.on("authenticated", () => tell("authenticated"));
client.on("error", (error) => tell("error", String(error)));
client.on("message.text", async (frame) => {
  const { from, chattype, text } = frame.body;
  tell("message", from.userid, chattype, text.content);
  tell("grows", (await client.replyStream(frame, "stream-1", "你", false, undefined, { id: "f1" })).errcode);
  tell("ends", (await client.replyStream(frame, "stream-1", "你好呀", true)).errcode);
  await client.replyStream(frame, "stream-1", "还有", true).catch((refused) => tell("over", refused.errcode));
  const body = { msgtype: "markdown", markdown: { content: "早" } };
  tell("sent", (await client.sendMessage(from.userid, body)).errcode);
});
client.on("event.feedback_event", (frame) => {
  tell("feedback", frame.body.event.feedback_event);
  client.disconnect();
});
client.connect();
