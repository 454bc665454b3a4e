// The conversation follows what is being said, unless somebody has scrolled up to read.
import { $ } from "./look.js";

const NEAR = 60; // pixels from the end that count as the end
let pinned = true;

export function follow(whatever = false) {
  pinned ||= whatever;
  if (pinned) $("scroll").scrollTop = $("scroll").scrollHeight;
}

$("scroll").addEventListener("scroll", () => {
  const { scrollHeight, scrollTop, clientHeight } = $("scroll");
  pinned = scrollHeight - scrollTop - clientHeight < NEAR;
  $("end").hidden = pinned;
});
$("end").addEventListener("click", () => follow(true));
