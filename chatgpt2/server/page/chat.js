import { call, Refused, stream } from "./api.js";
import { invite, resize, side, spoken, wide } from "./frame.js";
import { explain, listen } from "./keys.js";
import { $, ago, ask, button, dressing, make, words } from "./look.js";
import { safely } from "./notice.js";
import { follow } from "./scroll.js";
import { choose } from "./settings.js";
import { all, drawOpening, equip, grow, show, turnOf } from "./turns.js";

const API = "api/sessions";
let current = null; // the id of the session on the screen; null: a new one that nobody has spoken in
let own = {}; // its settings and persona
let model = null; // what the service tells of it
let acting = false; // something was asked of the service and has not come back
let running = null; // the AbortController of the reply in the making
let editing = null; // the turn on the screen that is being asked differently
let unsent = null; // a message that did not get through: it keeps its id

// Turns

function drawWhole({ said, settings = {}, persona = null }) {
  const set = Object.entries(settings).filter(([, value]) => value !== null);
  own = { settings: set.length ? Object.fromEntries(set) : null, persona };
  draw(said);
}

function draw(turns) {
  $("turns").replaceChildren();
  stopEditing();
  for (const turn of turns) show(turn);
  drawOpening(own.persona);
  equip(acts);
  invite(!turns.length);
  follow(true);
}

// After a reply the service knows the turns by their ids. What it keeps out of the conversation (a message with a
// blocked word) stays on the screen until the next look; what another window did in the meantime is shown.
async function learn() {
  const items = all(); // without what is said from here on
  const { said } = await call("GET", `${API}/${current}`);
  if (running) return; // the next reply brings us back
  if (said.some((turn, place) => !items[place] || turnOf(items[place]).text !== turn.text)) return draw(said);
  said.forEach((turn, place) => Object.assign(turnOf(items[place]), turn));
  for (const item of items.slice(said.length)) item.classList.add("aside");
  equip(acts);
}

// A command may have changed anything; what it was and did is no part of the conversation.
async function note(items) {
  drawWhole(await call("GET", `${API}/${current}`));
  invite(false);
  for (const item of items) item.classList.add("aside");
  $("turns").append(...items);
  follow(true);
}

async function judge(turn, verdict, text) {
  let done = false;
  await safely(async () => {
    await call("POST", `${API}/${current}/feedback`, { turn: turn.id, verdict, ...(text ? { text } : {}) });
    done = true;
  }, null)();
  return done;
}

// Talking

function busy(controller) {
  running = controller;
  $("send").hidden = controller !== null;
  $("stop").hidden = controller === null;
}

// Whether what came is a note, which says what a command did.
async function watch(path, body, item) {
  let noted = false;
  const controller = new AbortController();
  busy(controller);
  item.classList.add("waiting");
  $("heard").textContent = words.answering;
  try {
    for await (const { text, note = false } of stream(path, body, controller.signal)) {
      noted = note;
      grow(item, text);
      turnOf(item).text = text;
      follow();
    }
    $("heard").textContent = `${words.bot}: ${turnOf(item).text}`;
  } finally {
    item.classList.remove("waiting");
    busy(null);
  }
  return noted;
}

async function send(event) {
  event?.preventDefault();
  const text = $("text").value.trim();
  if (!text || running || acting) return;
  acting = true;
  try {
    if (editing) await takeBack();
    if (current === null) await begin(text);
  } finally {
    acting = false;
  }
  // The id lets the service know the message again if it comes twice.
  if (unsent?.text !== text || unsent.session !== current) {
    unsent = { text, session: current, message_id: crypto.randomUUID?.() ?? String(Math.random()) };
  }
  invite(false);
  resize("");
  const items = [show({ role: "user", text }), show({ role: "bot", text: "" })];
  follow(true);
  try {
    const body = { text, message_id: unsent.message_id, stream: true, commands: true };
    const noted = await watch(`${API}/${current}/messages`, body, items[1]);
    unsent = null;
    await (noted ? note(items) : learn());
  } catch (error) {
    if (unsent) for (const item of items) item.remove();
    // Nothing was stored: it can be said again, unless another session is on the screen by now.
    if (unsent?.session === current && !$("text").value) resize(text);
    if (error.status === 404) forget();
    if (!all().length) invite(true);
    throw error;
  } finally {
    follow();
    $("text").focus();
    list().catch(() => {}); // the notice tells of the first failure
  }
}

// The session was deleted elsewhere: what is said next begins another.
function forget() {
  go(null);
  unsent = null;
  for (const item of all()) item.remove();
}

async function again() {
  if (running) return;
  const item = all().at(-1);
  const before = { ...turnOf(item) };
  try {
    await watch(`${API}/${current}/retry?stream=true`, {}, item);
    await learn();
  } catch (error) {
    turnOf(item).text = before.text; // the old reply stands
    grow(item, before.text);
    throw error;
  } finally {
    equip(acts);
    follow();
    $("text").focus();
  }
}

function edit(item) {
  if (running || acting) return;
  stopEditing();
  editing = item;
  const items = all();
  const place = items.indexOf(item);
  items.slice(place).forEach((each) => each.classList.add("leaving"));
  $("edited").textContent = items.length - place > 2 ? words.editingMore : words.editing;
  $("editing").hidden = false;
  resize(turnOf(item).text);
  $("text").focus();
}

function stopEditing() {
  if (!editing) return;
  editing = null;
  $("editing").hidden = true;
  for (const each of all()) each.classList.remove("leaving");
  resize("");
}

// What is asked differently goes, with all that came after it. The service says what is there: a request may have
// got through and its answer not.
async function takeBack() {
  const kept = all().indexOf(editing);
  const { said } = await call("GET", `${API}/${current}`);
  for (const turn of said.slice(kept)) if (turn.role === "user") await call("POST", `${API}/${current}/undo`);
  for (const item of all().slice(kept)) item.remove();
  editing = null;
  $("editing").hidden = true;
}

const acts = { edit, judge, retry: safely(again) };

// Sessions

async function begin(text) {
  const made = await call("POST", API, { title: text.slice(0, 30) });
  try {
    if (own.settings || own.persona) await call("PATCH", `${API}/${made.id}`, own);
  } catch (error) {
    await call("DELETE", `${API}/${made.id}`); // rather none than one without what was chosen
    throw error;
  }
  go(made.id);
}

function go(session) {
  current = session;
  history.replaceState(null, "", session ? `#${session}` : "#");
}

let pages = 1; // of the list of sessions that are shown

async function listed() {
  const sessions = [];
  let found = [];
  for (let page = 0; page < pages && (page === 0 || found.length); page++) {
    found = await call("GET", page ? `${API}?before=${sessions.at(-1).id}` : API);
    sessions.push(...found);
  }
  return { sessions, more: found.length === 50 };
}

async function older() {
  pages += 1;
  const { length } = $("sessions").children;
  await list();
  $("sessions").children[length - 1]?.querySelector("button").focus(); // the first of those that came
}

async function list() {
  const { sessions, more } = await listed();
  $("sessions").replaceChildren(
    ...sessions.map((each) => {
      const pick = button(each.title || words.untitled, safely(() => open(each.id)));
      pick.title = `${pick.textContent} · ${ago(each.last_active)}`;
      pick.setAttribute("aria-current", String(each.id === current));
      return make("li", {}, pick);
    }),
    ...(more ? [make("li", {}, button(words.more, safely(older)))] : []),
  );
  const here = sessions.find((each) => each.id === current);
  $("title").textContent = here?.title || words.untitled;
  document.title = here?.title ? `${here.title} · chatgpt2` : "chatgpt2";
  $("more").hidden = current === null;
}

async function open(session) {
  running?.abort();
  side(false);
  try {
    const whole = session ? await call("GET", `${API}/${session}`) : { said: [] };
    go(session);
    drawWhole(whole);
  } catch (error) {
    if (!(error instanceof Refused) || ![400, 404].includes(error.status)) throw error;
    go(null); // a link to what is gone
    drawWhole({ said: [] });
  }
  await list();
  if (wide()) $("text").focus();
}

async function rename() {
  $("acts").hidePopover();
  const title = await ask(words.askTitle, { value: $("title").textContent });
  if (title === null) return;
  await call("PATCH", `${API}/${current}`, { title: title || null });
  await list();
}

async function clear() {
  $("acts").hidePopover();
  if (!(await ask(words.askClear, { yes: words.clear }))) return;
  await call("POST", `${API}/${current}/clear`);
  await open(current);
}

async function remove() {
  $("acts").hidePopover();
  if (!(await ask(words.askDelete, { yes: words.delete }))) return;
  await call("DELETE", `${API}/${current}`);
  await open(null);
}

function set() {
  if (!model || $("drawer").open) return;
  choose(model, own, async (chosen) => {
    if (current !== null) await call("PATCH", `${API}/${current}`, chosen);
    own = chosen;
    drawOpening(own.persona);
  });
}

// Hands

function stop() {
  if (running) running.abort();
  else stopEditing();
  side(false);
}

function editLast() {
  const last = all().findLast((item) => turnOf(item).role === "user");
  if (last) edit(last);
}

for (const [id, act] of Object.entries({ rename, clear, delete: remove, settings: set })) {
  $(id).addEventListener("click", safely(act));
}
$("form").addEventListener("submit", safely(send));
$("new").addEventListener("click", safely(() => open(null)));
$("stop").addEventListener("click", stop);
$("unedit").addEventListener("click", stopEditing);
$("keyboard").addEventListener("click", explain);
$("menu").addEventListener("click", () => side(!$("side").classList.contains("open")));
$("scroll").addEventListener("click", () => side(false));
listen({ editLast, stop, new: safely(() => open(null)), focus: () => $("text").focus(), settings: safely(set), help: explain });
addEventListener("hashchange", safely(() => open(location.hash.slice(1) || null)));

dressing(() => {
  spoken();
  if (!running) safely(() => open(current))();
});
spoken();
safely(async () => {
  await open(location.hash.slice(1) || null);
  model = await call("GET", "api/model");
  $("model").textContent = model.name;
})();
