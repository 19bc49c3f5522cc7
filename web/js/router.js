/* Places of the page are fragments: #/jobs/{id}/{tab}?… */

const routes = [];
let leave = null;

/** `pattern` like "/jobs/:id/:tab?"; `view(place)` renders into `place.main` until `place.signal` aborts. */
export function route(pattern, view, title) {
  const names = [];
  const source = pattern.replace(/\/:(\w+)(\?)?/g, (_, name, optional) => {
    names.push(name);
    return optional ? "(?:/([^/]+))?" : "/([^/]+)";
  });
  routes.push({ expression: new RegExp(`^${source}/?$`), names, view, title });
}

export function here() {
  const text = location.hash.replace(/^#/, "") || "/";
  const [path, search = ""] = text.split("?");
  return { path, search: new URLSearchParams(search) };
}

/** Changes the query part of the fragment without leaving the view. */
export function remember(params) {
  const { path } = here();
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one) kept.append(name, one);
  }
  const text = kept.toString();
  history.replaceState(null, "", `#${path}${text ? `?${text}` : ""}`);
}

export const go = (path) => { location.hash = path; };

export function show() {
  const { path, search } = here();
  for (const { expression, names, view, title } of routes) {
    const found = expression.exec(path);
    if (!found) continue;
    const given = Object.fromEntries(names.map((name, place) => [name, found[place + 1] && decodeURIComponent(found[place + 1])]));
    leave?.abort();
    leave = new AbortController();
    document.title = `${title} · BFC Lab`;
    mark(path);
    view({ main: document.getElementById("main"), given, search, signal: leave.signal });
    return;
  }
  go("/jobs");
}

function mark(path) {
  for (const link of document.querySelectorAll("#places a")) {
    const at = link.getAttribute("href").slice(1);
    if (path.startsWith(at) || (at === "/jobs" && (path === "/" || path.startsWith("/snapshots")))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}
