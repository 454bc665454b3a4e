// The turns on the screen, and what can be done with each.
import { $, button, icon, make, words } from "./look.js";

// What a turn is, beside what it looks like: { role, text, id, verdict }, as the service tells it.
const known = new WeakMap();
export const all = () => [...$("turns").querySelectorAll("li:not(.opening, .aside)")];
export const turnOf = (item) => known.get(item);

function line(turn, kind) {
  const who = make("span", { className: "hidden" }, words[turn.role === "user" ? "you" : "bot"]);
  return make("li", { className: kind }, who, make("div", { className: "said" }, turn.text));
}

export function show(turn) {
  const item = line(turn, turn.role);
  known.set(item, turn);
  $("turns").append(item);
  return item;
}

// The lines of a persona, which were not said and are before all that is.
export function drawOpening(persona) {
  for (const old of $("turns").querySelectorAll(".opening")) old.remove();
  const turns = (persona ?? []).flatMap(({ user, bot }) => [{ role: "user", text: user }, { role: "bot", text: bot }]);
  $("turns").prepend(...turns.map((turn) => line(turn, `${turn.role} opening`)));
}

export function grow(item, text) {
  item.querySelector(".said").textContent = text;
}

// Every reply can be copied and judged, the last one made anew, every question asked differently.
export function equip(acts) {
  const items = all();
  for (const item of items) {
    item.querySelector(".tools")?.remove();
    const turn = turnOf(item);
    const tools = make("div", { className: "tools" });
    if (turn.role === "user") tools.append(button(words.edit, () => acts.edit(item), "edit"));
    else {
      // Browsers let only pages from this machine or over HTTPS write to the clipboard.
      if (navigator.clipboard) tools.append(copier(turn));
      if (item === items.at(-1)) tools.append(button(words.retry, acts.retry, "retry"));
      tools.append(...thumbs(item, turn, acts.judge));
    }
    item.querySelector(".said").after(tools);
  }
}

function copier(turn) {
  const made = button(words.copy, async () => {
    await navigator.clipboard.writeText(turn.text);
    $("heard").textContent = words.copied;
    made.replaceChildren(words.copied);
    setTimeout(() => made.replaceChildren(icon("copy")), 1500);
  }, "copy");
  return made;
}

function thumbs(item, turn, judge) {
  const both = ["up", "down"].map((verdict) => {
    const made = button(words[verdict === "up" ? "good" : "bad"], async () => {
      const wanted = turn.verdict === verdict ? null : verdict;
      if (!(await judge(turn, wanted))) return;
      turn.verdict = wanted;
      press();
      item.querySelector(".why")?.remove();
      if (wanted === "down") item.append(why(turn, judge));
    }, verdict);
    made.dataset.verdict = verdict;
    return made;
  });
  const press = () => both.forEach((each) => each.setAttribute("aria-pressed", String(turn.verdict === each.dataset.verdict)));
  press();
  return both;
}

// One line more about a bad reply, for who wants to say it.
function why(turn, judge) {
  const field = make("input", { maxLength: 1000, placeholder: words.why });
  field.setAttribute("aria-label", words.why);
  const form = make("form", { className: "why" }, field, make("button", {}, words.send), button(words.close, () => form.remove(), "close"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (text && !(await judge(turn, "down", text))) return;
    form.replaceChildren(make("span", { role: "status" }, words.thanks));
    setTimeout(() => form.remove(), 2500);
  });
  return form;
}
