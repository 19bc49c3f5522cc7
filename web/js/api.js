/* The public HTTP API, and nothing else. */

const KEY = "bfc.key";

/** A refusal in the server's words (problem+json). */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `refused (${status})`);
    this.status = status;
    this.title = body.title ?? "Refused";
    this.detail = body.detail ?? "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
  }
}

/** No server answered. */
export class Away extends Error {
  constructor() { super("The lab does not answer. It may be restarting; `bfc serve` starts one."); }
}

export const key = {
  get() { try { return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY); } catch { return null; } },
  set(secret, keep) {
    key.forget();
    try { (keep ? localStorage : sessionStorage).setItem(KEY, secret); } catch { /* storage may be refused */ }
  },
  forget() { try { sessionStorage.removeItem(KEY); localStorage.removeItem(KEY); } catch { /* as above */ } },
};

export function headers(more) {
  const secret = key.get();
  return { Accept: "application/json", ...(secret ? { Authorization: `Bearer ${secret}` } : {}), ...more };
}

/** One request. Throws Problem, Away, or AbortError. */
export async function send(method, path, { params, body, accept, signal, more, raw } = {}) {
  const url = path + query(params);
  const sent = { ...(accept ? { Accept: accept } : {}), ...more };
  const options = { method, signal, headers: headers(sent), cache: "no-cache" };
  if (raw !== undefined) options.body = raw;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let reply;
  try { reply = await fetch(url, options); } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Away();
  }
  if (!reply.ok) throw await refused(reply);
  return reply;
}

export async function refused(reply) {
  let body = {};
  try { body = await reply.json(); } catch { body = { title: reply.statusText }; }
  if (reply.status === 401) dispatchEvent(new CustomEvent("bfc:key", { detail: body.detail }));
  return new Problem(reply.status, body);
}

export const get = async (path, params, options) => (await send("GET", path, { params, ...options })).json();
export const post = async (path, body, options) => {
  const reply = await send("POST", path, { body, ...options });
  return reply.status === 204 ? null : reply.json();
};
/** A POST that makes something, sent so that a repetition makes it once. */
export const create = (path, body, options) => post(path, body, { ...options, more: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) } });
export const remove = (path) => send("DELETE", path);

/** All items of a list, page by page, up to `most`. */
export async function all(path, params, most = 2000, options) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { limit: Math.min(500, most - items.length), ...params, cursor }, options);
    items.push(...page.items);
    cursor = page.next ?? null;
  } while (cursor !== null && items.length < most);
  return items;
}

export function query(params) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) found.append(name, one);
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

/** Saves a reply as a file; through fetch, so that the key goes with it. */
export async function save(path, name, accept, params) {
  const reply = await send("GET", path, { accept: accept ?? "*/*", params });
  const url = URL.createObjectURL(await reply.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const job = (id) => `/v1/jobs/${encodeURIComponent(id)}`;
