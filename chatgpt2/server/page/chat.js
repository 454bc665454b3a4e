import { call, Refused, stream } from "./api.js";
import { WORDS } from "./words.js";

const API = "api/sessions";
const $ = (id) => document.getElementById(id);
const wide = () => matchMedia("(min-width: 44rem)").matches;
let words = WORDS["zh-CN"];
let current = null; // the id of the session on the screen; null: a new one that nobody has spoken in
let acting = false; // something was asked of the service and has not come back
let running = null; // the AbortController of the reply in the making

// Looks

function speak(language) {
  words = WORDS[language] ?? WORDS["zh-CN"];
  document.documentElement.lang = language;
  localStorage.setItem("language", language);
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = words[each.dataset.text];
  for (const each of document.querySelectorAll("[data-label]")) {
    each.setAttribute("aria-label", words[each.dataset.label]);
    if (each.tagName === "BUTTON") each.title = words[each.dataset.label];
  }
  $("language").textContent = words.languageName;
  $("text").placeholder = words.placeholder + (wide() ? words.keys : "");
}

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
}

function notice(text = "") {
  $("notice").textContent = text;
}

function tell(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refused)) notice(words.unreachable);
  else notice(error.status === 429 ? words.busy : words.broken + error.message);
}

const safely = (act) => async (event) => {
  notice();
  try {
    await act(event);
  } catch (error) {
    if (error.status === 401) askForKey();
    tell(error);
  }
};

function askForKey() {
  const key = prompt(words.askKey);
  if (!key) return;
  localStorage.setItem("key", key.trim());
  location.reload();
}

// Turns

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", safely(act));
  return made;
}

function show(role, text) {
  const item = document.createElement("li");
  item.className = role;
  const who = document.createElement("span");
  who.className = "hidden";
  who.textContent = words[role === "user" ? "you" : "bot"];
  const said = document.createElement("div");
  said.className = "said";
  said.textContent = text;
  item.append(who, said);
  $("turns").append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

async function copy(text, where) {
  await navigator.clipboard.writeText(text);
  where.textContent = words.copied;
}

// The last question can be changed, the last reply made anew, every reply copied.
function equip() {
  for (const old of $("turns").querySelectorAll(".tools")) old.remove();
  const items = [...$("turns").querySelectorAll("li:not(.welcome)")];
  for (const item of items) {
    const last = items.indexOf(item) >= items.length - 2;
    const tools = document.createElement("div");
    tools.className = "tools";
    const text = item.querySelector(".said").textContent;
    // Browsers let only pages from this machine or over HTTPS write to the clipboard.
    if (item.className === "bot" && navigator.clipboard) tools.append(button(words.copy, (event) => copy(text, event.target)));
    if (item.className === "bot" && last) tools.append(button(words.retry, again));
    if (item.className === "user" && last) tools.append(button(words.edit, () => edit(text)));
    item.append(tools);
  }
}

function draw(turns) {
  $("turns").replaceChildren();
  for (const turn of turns) show(turn.role, turn.text);
  if (!turns.length) {
    const welcome = document.createElement("li");
    welcome.className = "welcome";
    welcome.textContent = words.welcome;
    $("turns").append(welcome);
  } else equip();
}

// Talking

function busy(controller) {
  running = controller;
  $("send").hidden = controller !== null;
  $("stop").hidden = controller === null;
}

async function watch(path, body, item) {
  const said = item.querySelector(".said");
  const controller = new AbortController();
  busy(controller);
  item.classList.add("waiting");
  try {
    for await (const text of stream(path, body, controller.signal)) {
      said.textContent = text;
      item.scrollIntoView({ block: "end" });
    }
  } finally {
    item.classList.remove("waiting");
    busy(null);
  }
}

async function send(event) {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || running || acting) return;
  acting = true;
  try {
    if (current === null) await begin(text);
  } finally {
    acting = false;
  }
  $("turns").querySelector(".welcome")?.remove();
  $("text").value = "";
  const mine = show("user", text);
  const theirs = show("bot", "");
  // The id lets the service know the message again if it comes twice.
  const body = { text, message_id: crypto.randomUUID?.() ?? String(Math.random()), stream: true };
  try {
    await watch(`${API}/${current}/messages`, body, theirs);
    equip();
  } catch (error) {
    mine.remove();
    theirs.remove();
    if (!$("text").value) $("text").value = text; // nothing was stored: it can be said again
    throw error;
  } finally {
    $("text").focus();
    await list();
  }
}

async function again() {
  if (running) return;
  const item = $("turns").lastElementChild;
  const before = item.querySelector(".said").textContent;
  try {
    await watch(`${API}/${current}/retry?stream=true`, {}, item);
  } catch (error) {
    item.querySelector(".said").textContent = before; // the old reply stands
    throw error;
  } finally {
    equip();
  }
}

async function edit(text) {
  if (running || acting) return;
  acting = true;
  try {
    await call("POST", `${API}/${current}/undo`);
    await open(current);
  } finally {
    acting = false;
  }
  $("text").value = text;
  $("text").focus();
}

// Sessions

async function begin(text) {
  const made = await call("POST", API, { title: text.slice(0, 30) });
  go(made.id);
}

function go(session) {
  current = session;
  history.replaceState(null, "", session ? `#${session}` : "#");
}

async function list() {
  const sessions = await call("GET", API);
  $("sessions").replaceChildren(
    ...sessions.map((each) => {
      const item = document.createElement("li");
      const pick = button(each.title || words.untitled, () => open(each.id));
      pick.setAttribute("aria-current", String(each.id === current));
      item.append(pick);
      return item;
    }),
  );
  const here = sessions.find((each) => each.id === current);
  $("title").textContent = here?.title || words.untitled;
  for (const id of ["rename", "clear", "delete"]) $(id).hidden = current === null;
}

async function open(session) {
  running?.abort();
  side(false);
  try {
    const whole = session ? await call("GET", `${API}/${session}`) : { said: [] };
    go(session);
    draw(whole.said);
  } catch (error) {
    if (!(error instanceof Refused) || ![400, 404].includes(error.status)) throw error;
    go(null); // a link to what is gone
    draw([]);
  }
  await list();
  if (wide()) $("text").focus();
}

async function rename() {
  const title = prompt(words.askTitle, $("title").textContent);
  if (title === null) return;
  await call("PATCH", `${API}/${current}`, { title: title.trim().slice(0, 200) || null });
  await list();
}

async function clear() {
  if (!confirm(words.askClear)) return;
  await call("POST", `${API}/${current}/clear`);
  await open(current);
}

async function remove() {
  if (!confirm(words.askDelete)) return;
  await call("DELETE", `${API}/${current}`);
  await open(null);
}

function side(opened) {
  $("side").classList.toggle("open", opened);
  $("menu").setAttribute("aria-expanded", String(opened));
}

// Hands

$("form").addEventListener("submit", safely(send));
$("stop").addEventListener("click", () => running?.abort());
$("new").addEventListener("click", safely(() => open(null)));
$("rename").addEventListener("click", safely(rename));
$("clear").addEventListener("click", safely(clear));
$("delete").addEventListener("click", safely(remove));
$("menu").addEventListener("click", () => side(!$("side").classList.contains("open")));
$("turns").addEventListener("click", () => side(false));
$("theme").addEventListener("click", () => dress(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
$("language").addEventListener("click", safely(() => {
  speak(words === WORDS.en ? "zh-CN" : "en");
  return open(current);
}));
$("text").addEventListener("keydown", (event) => {
  // Enter that ends the choice of a character in an input method is not for us.
  if (event.key === "Enter" && !event.shiftKey && !composing(event)) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
// Safari ends the composition before it tells of the key, and marks it with 229.
function composing(event) {
  return event.isComposing || event.keyCode === 229;
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || composing(event)) return;
  running?.abort();
  side(false);
});
addEventListener("hashchange", safely(() => open(location.hash.slice(1) || null)));

speak(localStorage.getItem("language") ?? "zh-CN");
dress(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
safely(async () => {
  await open(location.hash.slice(1) || null);
  const models = await call("GET", "v1/models");
  $("model").textContent = models.data[0].id;
})();
