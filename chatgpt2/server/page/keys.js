// What can be done without a mouse, and the list of it.
import { $, button, make, words } from "./look.js";

// Safari ends the composition before it tells of the key, and marks it with 229.
const composing = (event) => event.isComposing || event.keyCode === 229;

const COMBINED = { KeyN: "new", KeyM: "focus", KeyP: "settings" }; // with Alt: no browser has a use for these

export function listen(acts) {
  $("text").addEventListener("keydown", (event) => {
    // Enter that ends the choice of a character in an input method is not for us.
    if (composing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      $("form").requestSubmit();
    } else if (event.key === "ArrowUp" && !$("text").value) {
      event.preventDefault();
      acts.editLast();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (composing(event) || document.querySelector("dialog[open]")) return;
    const act = event.key === "Escape" ? "stop" : combined(event);
    if (!act) return;
    if (act !== "stop") event.preventDefault();
    acts[act]();
  });
}

function combined(event) {
  if (event.altKey && !event.ctrlKey && !event.metaKey) return COMBINED[event.code];
  return (event.ctrlKey || event.metaKey) && event.key === "/" ? "help" : undefined;
}

export function explain() {
  const rows = [
    [["Enter"], words.helpSend], [["Shift", "Enter"], words.helpLine], [["Esc"], words.helpStop], [["↑"], words.helpEdit],
    [["Alt", "M"], words.helpFocus], [["Alt", "N"], words.helpNew], [["Alt", "P"], words.helpSettings], [["Ctrl", "/"], words.helpHelp],
  ];
  const list = make("dl", {}, ...rows.flatMap(([keys, what]) => [
    make("dt", {}, ...keys.flatMap((key, place) => (place ? [" + ", make("kbd", {}, key)] : [make("kbd", {}, key)]))),
    make("dd", {}, what),
  ]));
  const title = make("h2", { id: "shortcuts-title" }, words.help);
  $("shortcuts").replaceChildren(make("div", { className: "bar" }, title, button(words.close, () => $("shortcuts").close(), "close")), list);
  if (!$("shortcuts").open) $("shortcuts").showModal();
}
