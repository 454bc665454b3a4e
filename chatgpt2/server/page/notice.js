// Telling what went wrong, and trying it again.
import { Refused } from "./api.js";
import { $, askForKey, button, make, why, words } from "./look.js";

const LONGEST_WAIT = 60; // seconds: who has to wait longer presses the button
let waking = null; // the timer that tries again

export function notice(text = "", act = null) {
  clearInterval(waking);
  $("notice").replaceChildren(text);
  if (act) $("notice").append(button(words.again, safely(act)));
}

// What is done may fail: then it is told, and can be tried again.
export const safely = (act, again = act) => async (event) => {
  notice();
  try {
    await act(event);
  } catch (error) {
    tell(error, again);
  }
};

function tell(error, act) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Refused)) notice(words.unreachable, act);
  else if (error.status === 401) askForKey().then(() => notice(words.keyless, act));
  else if (error.status === 429 || error.status === 503) tellBusy(error, act);
  else notice(why(error), act);
}

// The service says when it may be asked again, and then it is.
function tellBusy(error, act) {
  const { wait } = error;
  notice(why(error), act);
  if (!act || !wait || wait > LONGEST_WAIT) return;
  let left = wait + 1;
  const count = make("span", { ariaHidden: "true" });
  $("notice").append(count);
  const tick = () => {
    left -= 1;
    count.textContent = words.seconds(left);
    if (left <= 0) safely(act)();
  };
  tick();
  waking = setInterval(tick, 1000);
}
