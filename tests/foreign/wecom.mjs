// @wecom/crypto on the platform's side of the encryption: answers each line [what, ...arguments] of its input.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const { decrypt, encrypt, getSignature } = createRequire(import.meta.url)("@wecom/crypto");
const works = {
  sign: getSignature,
  open: (key, sealed) => [decrypt(key, sealed).message, decrypt(key, sealed).id],
  seal: (key, text, id, salt) => encrypt(key, text, id, Buffer.from(salt, "latin1")),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...given] = JSON.parse(line);
  console.log(JSON.stringify(works[what](...given)));
}
