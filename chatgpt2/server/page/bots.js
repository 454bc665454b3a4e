// The bots on the operations page: how they are, and logging one in.
import { call, Refused } from "./api.js";
import { $, button, drawn, make, why, words } from "./look.js";

const EVERY = 1000; // milliseconds between two looks at a login
const CELL = 5; // pixels of a square of the QR code
let offered = ""; // the bots that have a button
let login = null; // the bot that is being logged in

export function drawBots(told, { table, facts, number }) {
  $("bots-section").hidden = !told;
  if (!told) return;
  const { bots, letters, conversations } = told;
  const counted = ["received", "answered", "sent", "seen", "refused", "retried", "repeated", "dropped"];
  facts($("letters"), [[words.inConversation, number(conversations)], ...counted.map((name) => [words.letters[name], number(letters[name])])]);
  const heads = [words.bot, words.state, words.lastContact, words.restarts, words.lastError];
  table($("bots"), heads, bots.map((bot) => [
    bot.name === bot.platform ? bot.name : `${bot.name} (${bot.platform})`,
    make("span", { className: bot.healthy ? "well" : "ill" }, words.stages[bot.stage]),
    bot.silent_for === null ? "" : words.secondsAgo(number(Math.round(bot.silent_for))),
    number(bot.restarts), bot.last_error ?? "",
  ]));
  offer(bots.filter((bot) => bot.logs_in).map((bot) => bot.name));
}

// The buttons stay as they are while nothing changes: whoever is on one with the keyboard is not to lose it.
function offer(names) {
  const now = JSON.stringify([names, words.logIn("")]);
  if (now === offered) return;
  offered = now;
  $("log-in").replaceChildren(...names.map((name) => button(words.logIn(name), () => begin(name))));
}

async function begin(name) {
  login = name;
  await follow(() => call("POST", `api/admin/bots/${encodeURIComponent(name)}/login`, {}));
}

async function follow(first) {
  const mine = login;
  for (let next = first; login === mine; next = () => call("GET", `api/admin/bots/${encodeURIComponent(mine)}/login`)) {
    try {
      const now = await next();
      draw(now);
      if (!now.running) return;
    } catch (error) {
      $("login").replaceChildren(make("p", { className: "ill" }, error instanceof Refused ? why(error) : words.stale));
      if (error instanceof Refused) return;
    }
    await new Promise((resume) => setTimeout(resume, EVERY));
  }
}

function draw(now) {
  if ($("login").dataset.shown === JSON.stringify(now)) return; // nor what is being typed
  $("login").dataset.shown = JSON.stringify(now);
  const parts = now.said.map((line) => make("p", {}, line));
  if (now.error) parts.push(make("p", { className: "ill" }, now.error));
  if (now.qr) parts.push(code(now.qr), make("p", { className: "hint" }, now.link));
  if (now.question) parts.push(question(now));
  $("login").replaceChildren(...parts);
  $("login").querySelector("input")?.focus();
}

function code(rows) {
  const side = rows.length;
  const dark = rows.flatMap((row, y) => [...row].map((cell, x) => (cell === "1" ? `M${x} ${y}h1v1h-1z` : "")));
  return drawn("svg", { class: "qr", viewBox: `0 0 ${side} ${side}`, width: side * CELL, height: side * CELL, role: "img", "aria-label": words.qr },
    drawn("rect", { width: side, height: side, fill: "#fff" }), drawn("path", { d: dark.join(""), fill: "#000" }));
}

function question({ question: asked, secret }) {
  const field = make("input", { id: "login-answer", type: secret ? "password" : "text", autocomplete: "off", maxLength: 1000 });
  const form = make("form", {}, make("label", { htmlFor: "login-answer" }, asked), field, make("button", { className: "main" }, words.send));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    call("POST", `api/admin/bots/${encodeURIComponent(login)}/login/answer`, { text: field.value }).then(draw, () => {});
  });
  return form;
}
