/* Data sets: list, upload with progress, delete. */

import { all, key, query, remove } from "../api.js";
import { fill, h, toast } from "../dom.js";
import { ago, bytes, moment } from "../format.js";
import { confirm, copyable, empty, head, into, trouble } from "../parts.js";

const FORMATS = ["npz", "safetensors", "cifar10", "cifar100", "images"];

export function datasets({ main, signal }) {
  const list = h("div", { class: "stack" });
  const file = h("input", { type: "file", "aria-label": "File", required: true });
  const name = h("input", { type: "text", "aria-label": "Name", placeholder: "Name (the file's without)" });
  const format = h("select", { "aria-label": "Format" }, h("option", { value: "" }, "format as it looks"), FORMATS.map((one) => h("option", { value: one }, one)));
  const status = h("div", { role: "status" });
  const form = h("form", { class: "filters", onsubmit: (event) => { event.preventDefault(); upload(file.files[0], name.value || file.files[0].name.replace(/\.[^.]+$/, ""), format.value, status, read); } },
    file, name, format, h("button", { type: "submit", class: "strong" }, "Upload"));
  fill(main, head("Data sets", null),
    h("div", { class: "stack" }, h("section", { class: "card", "aria-label": "Upload" }, h("h2", null, "Upload"), h("p", { class: "note", style: { marginBottom: "12px" } }, "NumPy .npz without pickles, safetensors, CIFAR in its binary format, or an archive of folders of images. It is checked before it is used."), form, status), list));
  const read = () => into(list, signal, async () => {
    const found = await all("/v1/datasets", {}, 1000, { signal });
    if (!found.length) return empty("No data sets yet", "Synthetic targets need none. Upload one to train on pictures or arrays of your own.");
    return h("section", { class: "card flush", "aria-label": "Data sets" }, h("div", { class: "grid", tabindex: 0, role: "region", "aria-label": "Data sets" }, h("table", null,
      h("thead", null, h("tr", null, ["Name", "Format", "Size", "Holds", "Made", "Id", "Action"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", null, found.map((one) => h("tr", null, h("td", null, h("b", null, one.name)), h("td", null, one.format), h("td", { class: "num" }, bytes(one.bytes)),
        h("td", { class: "mono" }, (one.tensors ?? []).map((entry) => `${entry.name} ${entry.shape.join("×")}`).slice(0, 3).join(", ")), h("td", { class: "dim", title: moment(one.created_at) }, ago(one.created_at)), h("td", null, copyable(one.id)),
        h("td", null, h("button", { type: "button", class: "small danger", onclick: () => drop(one, read) }, "Delete"))))))));
  });
  read();
}

async function drop(one, done) {
  if (!await confirm("Delete this data set?", `${one.name} is taken away. Jobs that used it keep their results.`, "Delete")) return;
  try { await remove(`/v1/datasets/${encodeURIComponent(one.id)}`); toast("Deleted"); done(); } catch (fault) { toast(fault.message); }
}

/** XMLHttpRequest, because fetch tells nothing of how far an upload is. */
function upload(file, name, format, status, done) {
  const bar = h("i"), request = new XMLHttpRequest();
  fill(status, h("div", { class: "bar is-running" }, bar));
  request.open("POST", `/v1/datasets${query({ name, format })}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("Idempotency-Key", crypto.randomUUID?.() ?? String(Math.random()));
  if (key.get()) request.setRequestHeader("Authorization", `Bearer ${key.get()}`);
  request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.style.width = `${(100 * event.loaded) / event.total}%`; });
  request.addEventListener("loadend", () => {
    if (request.status >= 200 && request.status < 300) { fill(status, null); toast("Uploaded"); done(); return; }
    let body = {};
    try { body = JSON.parse(request.responseText); } catch { body = { title: "The upload broke off" }; }
    fill(status, trouble(Object.assign(new Error(body.detail ?? ""), { title: body.title, errors: body.errors })));
  });
  request.send(file);
}
