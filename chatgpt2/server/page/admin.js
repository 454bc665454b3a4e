import { call, Refused } from "./api.js";
import { drawBots } from "./bots.js";
import { $, ago, ask, askForKey, dressing, icon, make, why, words } from "./look.js";
import { plot } from "./plot.js";

const EVERY = 2000; // milliseconds between two looks at the load
const KEPT = 60; // looks that the picture of the load shows
let shown = null; // what the service told last
let training = null;
let speeds = []; // [seconds since the start, tokens per second]

const number = (value) => value.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 2 });

function facts(list, rows) {
  const pairs = rows.filter(([, value]) => value !== null && value !== undefined);
  list.replaceChildren(...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

function lasting(seconds) {
  const minutes = Math.floor(seconds / 60);
  return words.lasting(Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60);
}

// How fast tokens came since the last look; a service that began anew counts anew.
function measure(load) {
  const before = shown?.load;
  if (before && load.seconds > before.seconds) {
    const rate = (load.reply_tokens - before.reply_tokens) / (load.seconds - before.seconds);
    speeds = [...speeds, [load.seconds, rate]].slice(-KEPT);
  } else speeds = [];
}

function drawLoad({ running, waiting, refused, reply_tokens, seconds }) {
  const speed = speeds.at(-1)?.[1];
  facts($("load"), [
    [words.running, number(running)], [words.waiting, number(waiting)],
    [words.speed, speed === undefined ? "…" : number(Math.round(speed * 10) / 10)],
    [words.tokens, number(reply_tokens)], [words.refused, number(refused)], [words.uptime, lasting(seconds)],
  ]);
  const curve = { kind: "one", label: words.speed, points: speeds };
  const say = `${words.speed}: ${speed === undefined ? "…" : number(speed)}`;
  $("speed").replaceChildren(...(speeds.length > 1 ? plot([curve], say, { width: $("speed").clientWidth, height: 110, from: 0, xTicks: 0 }) : []));
}

function drawModel({ name, version, engine, window, sampling, persona }, release) {
  facts($("model"), [
    [words.model, name], [words.version, version?.split("@")[1]], [words.engine, engine], [words.window, number(window)],
    [words.sampling, Object.entries(sampling).map(([key, value]) => `${key} ${value}`).join(", ")],
    [words.persona, persona.length ? persona.map(({ text }) => text).join(" / ") : null], ["chatgpt2", release],
  ]);
}

function table(place, heads, rows) {
  if (!rows.length) {
    place.replaceChildren(make("p", { className: "empty" }, words.none));
    return;
  }
  const head = make("tr", {}, ...heads.map((each) => make("th", { scope: "col" }, each)));
  const lines = rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
  place.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)));
}

function drawSessions({ count, today, latest }) {
  facts($("counts"), [[words.count, number(count)], [words.today, number(today)]]);
  const heads = [words.when, words.turnsCount, words.platform, words.id];
  table($("latest"), heads, latest.map((each) => [ago(each.last_active), number(each.turns), each.platform, each.id]));
}

function judged(verdict) {
  const picture = icon(verdict);
  picture.removeAttribute("aria-hidden");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", words[verdict === "up" ? "good" : "bad"]);
  return picture;
}

function drawFeedback(feedback) {
  const heads = [words.when, words.id, words.verdict, words.comment];
  table($("feedback"), heads, feedback.map((each) => [ago(each.created), each.id, each.verdict ? judged(each.verdict) : "", each.text ?? ""]));
}

const points = (curve) => curve.map(({ step, loss }) => [step, loss]);

function drawTraining() {
  if (!training) return;
  const { facts: run, metrics, loss, held_out } = training;
  const rows = [[words.size, run.size], [words.steps, run.steps], [words.read, run.tokens], [words.seconds_, run.seconds]];
  const measured = Object.entries(metrics).filter(([key]) => key in words && key !== "loss").map(([key, value]) => [words[key], value]);
  facts($("training"), [...rows, ...measured].map(([name, value]) => [name, typeof value === "number" ? number(value) : value]));
  const curves = [
    { kind: "one", label: words.loss, points: points(loss) },
    { kind: "two", label: words.heldOut, points: points(held_out), dots: true },
  ].filter((curve) => curve.points.length);
  const say = curves.map((curve) => `${curve.label}: ${words.last} ${number(curve.points.at(-1)[1])}`).join("; ");
  $("curve").replaceChildren(...(curves.length ? plot(curves, say, { width: $("curve").clientWidth }) : [make("p", { className: "empty" }, words.noCurve)]));
}

function draw() {
  if (!shown) return;
  document.title = `${words.operations} · chatgpt2`;
  drawLoad(shown.load);
  drawModel(shown.model, shown.chatgpt2);
  drawSessions(shown.sessions);
  drawFeedback(shown.feedback);
  drawBots(shown.bots, { table, facts, number });
  $("reload").hidden = !shown.exchangeable;
}

async function look() {
  const told = await call("GET", "api/admin");
  measure(told.load);
  const other = shown?.model.version !== told.model.version;
  shown = told;
  draw();
  $("notice").textContent = "";
  if (!other && training) return;
  training = await call("GET", "api/admin/training");
  drawTraining();
}

async function reload() {
  if (!(await ask(words.askReload))) return;
  $("reload").disabled = true;
  $("told").textContent = words.reloading;
  try {
    await call("POST", "api/admin/model", {});
    training = null;
    $("told").textContent = words.reloaded;
  } catch (error) {
    $("told").textContent = error instanceof Refused ? why(error) : words.stale;
  }
  $("reload").disabled = false;
}

async function watch() {
  try {
    if (!document.hidden) await look();
  } catch (error) {
    if (error.status === 401) return askForKey();
    $("notice").textContent = error instanceof Refused ? why(error) : words.stale;
  }
  setTimeout(watch, EVERY);
}

dressing(() => {
  $("language").textContent = words.languageName;
  draw();
  drawTraining();
});
$("language").textContent = words.languageName;
$("reload").addEventListener("click", reload);
addEventListener("resize", () => {
  draw();
  drawTraining();
});
watch();
