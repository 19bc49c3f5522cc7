/* Claims in plain words: verdict, what it says, n, effect, and its interval. */

import { h } from "../dom.js";
import { number, words } from "../format.js";
import { pill } from "../parts.js";

const HEADLINE = "signed"; // claims are headlined on the signed read-out; the fixed one stands beside it

/** Cards by read-out, and the rule by which they were judged, said once. */
export function claims(found) {
  const blocks = [...Map.groupBy(found, (claim) => claim.readout ?? "")].sort(([a], [b]) => (b === HEADLINE) - (a === HEADLINE));
  const rules = [...new Set(found.map(rule).filter(Boolean))];
  return h("div", { class: "stack" },
    blocks.map(([readout, some]) => h("div", null,
      blocks.length > 1 ? h("h3", { class: "readout" }, `Read-out ${readout || "of the network"}`, readout === HEADLINE ? "" : h("span", { class: "dim" }, ", beside it")) : null,
      h("div", { class: "claims" }, some.map((claim) => card(claim, rules.length > 1))))),
    rules.length === 1 ? h("p", { class: "note" }, `Rule: ${rules[0]}.`) : null);
}

function card(claim, withRule) {
  const { effect, interval } = claim;
  return h("article", { class: "claim", dataset: { verdict: claim.verdict, claim: claim.claim } },
    h("div", { class: "which" }, h("h4", null, sentence(claim.claim)), pill(claim.verdict)),
    claim.says ? h("p", { class: "says" }, claim.says) : null,
    h("div", { class: "stats" },
      claim.n !== undefined && claim.n !== null ? h("span", null, `n = ${claim.n}${claim.planned && claim.planned !== claim.n ? ` of ${claim.planned}` : ""}`) : null,
      typeof effect === "number" ? h("span", null, `effect ${number(effect)}`) : null,
      claim.unit ? h("span", null, claim.unit) : null,
      Array.isArray(interval) ? h("span", null, `interval [${interval.map(number).join(", ")}]`) : null,
      claim.family_wise === true ? h("span", { title: "every earlier claim is supported too" }, "family-wise") : null),
    claim.verdict === "underpowered" && claim.n_needed ? h("p", { class: "note" }, `About ${claim.n_needed} seeds would do.`) : null,
    components(claim.components),
    withRule && rule(claim) ? h("p", { class: "note" }, rule(claim)) : null);
}

/** What the claim rests on, each against its threshold. */
function components(found) {
  if (!found || found.length < 2) return null;
  return h("details", { class: "note" }, h("summary", null, `${found.length} components`), h("ul", { class: "plainlist" }, found.map((one) => h("li", null,
    `${words(one.name)}: ${number(one.effect)}${Array.isArray(one.interval) ? ` [${one.interval.map(number).join(", ")}]` : ""}, ${one.direction === "at_most" ? "at most" : "at least"} ${number(one.threshold)} asked, ${words(one.verdict)}`))));
}

const rule = (claim) => (typeof claim.rule === "string" ? claim.rule : claim.rule?.says);
const sentence = (name) => { const text = words(name); return text[0].toUpperCase() + text.slice(1); };
