/* Events as they happen, by fetch rather than EventSource: a key can be sent, and the place to go on from is ours. */

import { headers, refused } from "./api.js";

const SILENCE_MS = 45_000; // the server sends a comment more often than this
const watchers = new Set();
let state = "idle", streams = 0;

/** Calls `tell` with "live", "lost" or "idle" at each change. */
export function onConnection(tell) { watchers.add(tell); tell(state); }
function connection(now) {
  if (now === state) return;
  state = now;
  for (const tell of watchers) tell(now);
}

/**
 * Follows the events at `path` until the signal aborts, through lost connections and restarts.
 * `hear` gets each event once. `opened` is called whenever a connection stands: what was read before may have
 * changed between the reading and the stream's first moment, so it is read again then.
 */
export async function follow(path, { hear, opened, signal, after = null, params = "" }) {
  streams += 1;
  try { return await keep(path, { hear, opened, signal, last: after, params }); } finally {
    streams -= 1;
    if (!streams) connection("idle");
  }
}

async function keep(path, { hear, opened, signal, last, params }) {
  let pause = 500;
  while (!signal.aborted) {
    try {
      const place = last === null ? {} : { "Last-Event-ID": last };
      const reply = await fetch(path + params, { headers: headers({ Accept: "text/event-stream", ...place }), signal, cache: "no-store" });
      if (!reply.ok) {
        if (reply.status < 500 && reply.status !== 429) throw Object.assign(await refused(reply), { final: true });
        throw new Error(`answered ${reply.status}`);
      }
      connection("live");
      pause = 500;
      opened?.();
      const ended = await read(reply.body, (event) => { last = event.id || last; hear(event); }, signal);
      if (ended === "closed") pause = 300;
    } catch (fault) {
      if (signal.aborted) break;
      if (fault.final) throw fault;
      connection("lost");
    }
    await new Promise((done) => setTimeout(done, pause));
    pause = Math.min(4000, pause * 1.6);
  }
  return last;
}

async function read(body, hear, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", watchdog = 0;
  try {
    for (;;) {
      const silence = new Promise((_, fail) => { watchdog = setTimeout(() => fail(new Error("silent")), SILENCE_MS); });
      const { value, done } = await Promise.race([reader.read(), silence]);
      clearTimeout(watchdog);
      if (done) return "closed";
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const event = decode(message);
        if (event && !signal.aborted) hear(event);
      }
    }
  } finally {
    clearTimeout(watchdog);
    reader.cancel().catch(() => {});
  }
}

/** One message's lines → {id, type, job, at, data}; null for a comment. */
export function decode(message) {
  let id = "", type = "message";
  const data = [];
  for (const line of message.split("\n")) {
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line.startsWith("event:")) type = line.slice(6).trim();
  }
  if (!data.length) return null;
  try { return { id, type, ...JSON.parse(data.join("\n")) }; } catch { return null; }
}
