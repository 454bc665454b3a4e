// What stands around the conversation: the list of sessions, the invitation to begin, the message field.
import { $, button, make, words } from "./look.js";

const WIDE = matchMedia("(min-width: 44rem)");
export const wide = () => WIDE.matches;

export function side(opened) {
  $("side").classList.toggle("open", opened);
  $("menu").setAttribute("aria-expanded", String(opened));
  if (opened) $("new").focus();
}

export function invite(shown) {
  $("welcome").hidden = !shown;
  const say = (text) => button(text, () => {
    $("text").value = text;
    $("form").requestSubmit();
  });
  $("welcome").replaceChildren(make("p", {}, words.welcome), make("div", {}, ...words.suggestions.map(say)));
}

// Browsers that cannot let a field grow by themselves.
export function resize(text) {
  if (text !== undefined) $("text").value = text;
  if (!CSS.supports("field-sizing", "content")) $("text").rows = Math.min(8, $("text").value.split("\n").length);
}

export function spoken() {
  $("language").textContent = words.languageName;
  $("text").placeholder = words.placeholder + (wide() ? words.keys : "");
}

WIDE.addEventListener("change", spoken);
$("text").addEventListener("input", () => resize());
