/* The members of a study or sweep: a grid that fills as they run, and a list. */

import { all, job as pathOf } from "../api.js";
import { fill, h, later } from "../dom.js";
import { number, words } from "../format.js";
import { FINAL, MARKS, fraction, loading, trouble } from "../parts.js";

const SEED = new Set(["seed", "index", "slot"]);

/** Draws the grid into `host`, and keeps it filled from the events of the study. */
export async function memberGrid(host, { job, signal, onEvent }) {
  fill(host, h("h2", null, "Members"), loading());
  let found;
  try { found = await all(`${pathOf(job.id)}/children`, {}, 10_000, { signal }); } catch (fault) {
    if (fault.name !== "AbortError") fill(host, trouble(fault));
    return;
  }
  const cells = new Map();
  const tally = h("span", { class: "note" });
  const rowOf = ([name, members]) => {
    const count = h("div", { class: "tally" });
    const tell = () => { count.textContent = `${members.filter((one) => FINAL.has(one.state)).length}\u2009/\u2009${members.length}`; };
    tell();
    return h("div", { class: "row" }, h("div", { class: "what", title: name }, name),
      h("div", { class: "cells" }, members.map((member) => { const made = cell(member); cells.set(member.id, { member, node: made, tell }); return made; })), count);
  };
  const blocks = beside(found);
  fill(host, h("div", { class: "cardhead" }, h("h2", null, "Members"), tally),
    h("div", { class: blocks.length > 1 ? "columns wide" : "" }, blocks.map(([title, members_]) => h("div", { class: "block" }, title ? h("h3", null, title) : null, h("div", { class: "members" }, grouped(members_, title ? "readout" : null).map(rowOf))))),
    legend(found));
  const count = () => { const done = found.filter((one) => FINAL.has(one.state)).length; tally.textContent = `${number(done)} of ${number(found.length)} have ended`; };
  count();
  const countSoon = later(count, 200);
  onEvent((event) => {
    const at = cells.get(event.job);
    if (!at) return;
    if (event.type === "state") at.member.state = event.data.state;
    else if (event.type === "progress") at.member.progress = { ...at.member.progress, ...event.data };
    else return;
    const fresh = cell(at.member);
    at.node.replaceWith(fresh);
    at.node = fresh;
    at.tell();
    countSoon();
  }, signal);
}

export function members(host, context) {
  const card = h("section", { class: "card", "aria-label": "Members" });
  fill(host, card);
  memberGrid(card, context);
}

function cell(member) {
  const part = fraction(member);
  const running = member.state === "running" && part > 0;
  const told = `${label(member)}: ${member.state}${running ? ` ${Math.round(100 * part)} %` : ""}`;
  return h("a", { class: `cell is-${member.state}`, href: `#/jobs/${member.id}`, title: told, "aria-label": told },
    running ? h("span", { class: "fill", style: { height: `${100 * part}%` } }) : null,
    h("span", { class: "mark", "aria-hidden": "true" }, MARKS[member.state] ?? ""));
}

/** Read-outs stand beside each other; what has none comes last. */
function beside(found) {
  const blocks = Map.groupBy(found, (member) => member.labels?.readout ?? "");
  if (blocks.size < 2) return [["", found]];
  return [...blocks].sort(([a], [b]) => (a === "") - (b === "")).map(([name, members_]) => [name ? `read-out ${name}` : "others", members_]);
}

/** Members that differ by seed alone stand in one row. */
export function grouped(found, without = null) {
  const rows = new Map();
  for (const member of found) {
    const name = row(member, without);
    if (!rows.has(name)) rows.set(name, []);
    rows.get(name).push(member);
  }
  return [...rows];
}

function row(member, without = null) {
  const shared = Object.entries(member.labels ?? {}).filter(([name]) => !SEED.has(name) && name !== without).map(([, value]) => words(value));
  return shared.join(" · ") || member.kind;
}

const label = (member) => {
  const seed = member.labels?.seed;
  return `${row(member)}${seed === undefined ? "" : `, seed ${seed}`}`;
};

function legend(found) {
  const states = [...new Set(found.map((one) => one.state).concat(["queued", "running", "succeeded", "failed"]))];
  return h("div", { class: "legend", "aria-hidden": "true", style: { marginTop: "14px" } }, states.map((state) => h("span", null, h("i", { class: `cell is-${state}` }, MARKS[state]), state)));
}
