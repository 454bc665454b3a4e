// Before anything is drawn, so that the page does not flash in the other colours.
document.documentElement.dataset.theme =
  localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.documentElement.lang = localStorage.getItem("language") ?? "zh-CN";
