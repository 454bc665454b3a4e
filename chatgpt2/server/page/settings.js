// The drawer: how replies are chosen in this session, and the lines it begins with.
import { Refused } from "./api.js";
import { $, button, make, why, words } from "./look.js";

const SLIDERS = [
  { name: "temperature", min: 0, max: 2, step: 0.05 },
  { name: "top_p", min: 0.05, max: 1, step: 0.05 },
  { name: "repetition_penalty", min: 1, max: 2, step: 0.05 },
  { name: "max_new_tokens", min: 8, max: 256, step: 8 },
];

// Show what is set, and let `save` have what is chosen: { settings, persona }, each null for the model's own. The drawer
// stays open until that has worked.
export function choose(model, { settings, persona }, save) {
  const own = { ...settings };
  const sliders = make("div", {}, ...SLIDERS.map((each) => slider(each, own, model)));
  const pairs = make("div", { className: "pairs" }, ...withOne(persona ?? paired(model.persona)).map(pair));
  const gap = make("p", { className: "hint bad", role: "alert" });
  const add = button(words.addPair, () => {
    pairs.append(pair({}));
    pairs.lastElementChild.querySelector("textarea").focus();
  });
  const head = make("div", { className: "bar" }, make("h2", { id: "drawer-title" }, words.settings), button(words.close, () => $("drawer").close(), "close"));
  const foot = make("div", { className: "answers" }, make("button", { className: "main" }, words.save));
  $("drawer-form").replaceChildren(
    head, make("p", { className: "hint" }, words.settingsHint), sliders,
    make("fieldset", {}, make("legend", {}, words.persona), make("p", { className: "hint" }, words.personaHint), pairs, add, gap), foot,
  );
  const done = async (chosen) => {
    try {
      await save(chosen);
      $("drawer").close();
    } catch (error) {
      gap.textContent = error instanceof Refused ? why(error) : words.unreachable;
    }
  };
  foot.prepend(button(words.reset, () => done({ settings: null, persona: null })));
  $("drawer-form").onsubmit = (event) => {
    event.preventDefault();
    const lines = spoken(pairs);
    if (!lines) gap.textContent = words.personaGap;
    else done({ settings: Object.keys(own).length ? own : null, persona: same(lines, paired(model.persona)) ? null : lines });
  };
  $("drawer").showModal();
}

function slider({ name, min, max, step }, own, model) {
  const usual = model.sampling[name];
  const top = name === "max_new_tokens" ? Math.max(min, Math.floor(model.window / 2)) : max;
  const range = make("input", { type: "range", id: `set-${name}`, min, max: top, step });
  const output = make("output", { htmlFor: range.id });
  const back = button(words.usual, () => {
    delete own[name];
    tell();
    range.focus();
  });
  back.setAttribute("aria-label", `${words[name]}: ${words.usual}`);
  const tell = () => {
    range.value = own[name] ?? usual;
    output.textContent = own[name] ?? `${usual} · ${words.usual}`;
    back.hidden = own[name] === undefined;
  };
  range.addEventListener("input", () => {
    own[name] = Number(range.value);
    tell();
  });
  tell();
  range.setAttribute("aria-describedby", `hint-${name}`);
  const label = make("div", { className: "named" }, make("label", { htmlFor: range.id }, words[name]), output, back);
  return make("div", { className: "setting" }, label, range, make("p", { className: "hint", id: `hint-${name}` }, words[`${name}Hint`]));
}

const withOne = (pairs) => (pairs.length ? pairs : [{}]);

// A model's own lines two by two: what the user says, what the bot says.
function paired(lines) {
  return lines.filter(({ role }) => role === "user").map(({ text }, place) => ({ user: text, bot: lines[2 * place + 1]?.text }));
}

function pair({ user = "", bot = "" }) {
  const line = (role, text) => {
    const field = make("textarea", { rows: 1, value: text, maxLength: 1000, placeholder: words[role] });
    field.setAttribute("aria-label", words[role]);
    return field;
  };
  const made = make("div", { className: "pair" }, line("personaUser", user), line("personaBot", bot));
  made.append(button(words.removePair, () => made.remove(), "close"));
  return made;
}

// The pairs that are filled in; null where half of one is missing.
function spoken(pairs) {
  const found = [...pairs.children].map((each) => {
    const [user, bot] = [...each.querySelectorAll("textarea")].map((field) => field.value.trim());
    return { user, bot };
  });
  if (found.some(({ user, bot }) => Boolean(user) !== Boolean(bot))) return null;
  return found.filter(({ user }) => user);
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
