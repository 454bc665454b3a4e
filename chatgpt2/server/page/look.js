// What both pages look like and how they ask: language, colours, buttons, questions.
import { WORDS } from "./words.js";

export const $ = (id) => document.getElementById(id);
export let words = WORDS[document.documentElement.lang] ?? WORDS["zh-CN"];

export function speak(language) {
  words = WORDS[language] ?? WORDS["zh-CN"];
  document.documentElement.lang = language;
  localStorage.setItem("language", language);
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = words[each.dataset.text];
  for (const each of document.querySelectorAll("[data-label]")) {
    each.setAttribute("aria-label", words[each.dataset.label]);
    if (["BUTTON", "A"].includes(each.tagName)) each.title = words[each.dataset.label];
  }
}

// The buttons for colours and language, which every page has.
export function dressing(spoken) {
  const change = (theme) => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  };
  $("theme").addEventListener("click", () => change(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("language").addEventListener("click", () => {
    speak(words === WORDS.en ? "zh-CN" : "en");
    spoken();
  });
  speak(document.documentElement.lang);
}

export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function icon(name) {
  return drawn("svg", { class: "icon", "aria-hidden": "true" }, drawn("use", { href: `page/icons.svg#${name}` }));
}

// A button that says what it does, in letters or as a picture with a label.
export function button(label, act, picture) {
  const made = make("button", { type: "button" }, picture ? icon(picture) : label);
  if (picture) {
    made.title = label;
    made.setAttribute("aria-label", label);
  }
  made.addEventListener("click", act);
  return made;
}

// A question over the page. The answer: null when it was turned away, else true, or what was typed where `value` is given.
export function ask(question, { value, hint = "", yes = words.ok, type = "text", most = 200 } = {}) {
  const field = make("input", { type, value: value ?? "", maxLength: most, autocomplete: "off", id: "asked" });
  const typed = value === undefined ? [make("p", { id: "question" }, question)] : [make("label", { id: "question", htmlFor: "asked" }, question), field];
  const form = make("form", { method: "dialog" }, ...typed);
  if (hint) form.append(make("p", { className: "hint" }, hint));
  const dialog = make("dialog", { className: "ask" }, form);
  dialog.setAttribute("aria-labelledby", "question");
  const no = button(words.cancel, () => dialog.close());
  form.append(make("div", { className: "answers" }, no, make("button", { className: "main" }, yes)));
  document.body.append(dialog);
  return new Promise((answer) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      answer(value === undefined ? true : field.value.trim());
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(null);
    });
    dialog.showModal();
    if (value !== undefined) field.select();
  });
}

let asking = false;

export async function askForKey() {
  if (asking) return;
  asking = true;
  const key = await ask(words.askKey, { value: "", hint: words.keyHint, type: "password" });
  asking = false;
  if (!key) return;
  localStorage.setItem("key", key);
  location.reload();
}

// Why the service refused, in the page's language. What has no words yet is told as the service tells it, in English.
export function why({ code, status, message }) {
  const known = words.refusals[code] ?? words.refusals[status];
  if (!known) return words.broken + message;
  return typeof known === "function" ? known(message) : known;
}

// How long ago, in a word.
export function ago(time) {
  const minutes = Math.floor((Date.now() - new Date(time)) / 60_000);
  if (minutes < 1) return words.justNow;
  if (minutes < 60) return words.minutes(minutes);
  if (minutes < 24 * 60) return words.hours(Math.floor(minutes / 60));
  return words.days(Math.floor(minutes / 60 / 24));
}
