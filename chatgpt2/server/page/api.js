// The service, as the pages use it.
export class Refused extends Error {
  constructor(status, { message, code } = {}, wait = null) {
    super(message);
    this.status = status;
    this.code = code; // of the service's own, in English like the message: look.js has words for people
    this.wait = wait; // seconds after which it may be tried again
  }
}

async function refusal(answer) {
  const body = await answer.json().catch(() => ({}));
  const wait = Number(answer.headers.get("Retry-After")) || null;
  return new Refused(answer.status, body.error ?? { message: answer.statusText }, wait);
}

// Where a key is asked for, it is kept in this browser.
function headers(body) {
  const key = localStorage.getItem("key");
  return {
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(key ? { Authorization: `Bearer ${key}` } : {}),
  };
}

export async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: headers(body),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw await refusal(answer);
  return answer.status === 204 ? null : answer.json();
}

// { text: the whole so far, note: whether it says what a command did }, again and again, until the reply is stored.
export async function* stream(path, body, signal) {
  const answer = await fetch(path, {
    method: "POST",
    headers: headers(body),
    body: JSON.stringify(body),
    signal,
  });
  if (!answer.ok) throw await refusal(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new TypeError("the connection ended before the reply did");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const said = JSON.parse(data);
      if (said.error) throw new Refused(500, said.error);
      yield said;
    }
  }
}
