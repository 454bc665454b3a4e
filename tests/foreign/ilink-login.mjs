// Tencent's own client logs in at URL, where its fixed address stands for the fake.
import { startWeixinLoginWithQr, waitForWeixinLogin } from "./node_modules/@tencent-weixin/openclaw-weixin/dist/src/auth/login-qr.js";

const [url] = process.argv.slice(2);
const real = globalThis.fetch;
globalThis.fetch = (asked, init) => real(String(asked).replace("https://ilinkai.weixin.qq.com", url), init);
process.stdout.write = ((write) => (text, ...rest) => (String(text).startsWith("[") ? write(text, ...rest) : true))(
  process.stdout.write.bind(process.stdout),
);
const tell = (...what) => console.log(JSON.stringify(what));

const { qrcodeUrl, sessionKey } = await startWeixinLoginWithQr({});
tell("code", qrcodeUrl);
const { connected, botToken, accountId, userId, baseUrl } = await waitForWeixinLogin({ sessionKey, timeoutMs: 30000 });
tell("login", connected, botToken, accountId, userId, baseUrl);
