/** Completions as rows, those of a group together. */

import { h, visible } from "../dom.js";
import { ended, verdict } from "../marks.js";
import { toGroup, toProblem } from "../place.js";
import { plain, signed } from "../words.js";

const COLUMNS = [
  ["Step", "step"],
  ["Problem"],
  ["No."],
  ["Reward", "reward"],
  ["Advantage"],
  ["Tokens", "tokens"],
  ["Finish"],
  ["Failure"],
  ["Completion"],
];

/**
 * @param {string} run  @param {import("../api.js").Rollout[]} rows  @param {(order: string) => void} sort
 * @param {string|null} order  null where a search for text found them, which goes from the newest step back
 */
export function rolloutsTable(run, rows, order, sort) {
  return h(
    "div",
    { class: "card flush" },
    h(
      "table",
      { class: "rollouts" },
      h("caption", { class: "unseen" }, "Completions"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          COLUMNS.map(([label, key]) => head(label, key, order, sort)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row, index) => completion(run, row, rows[index - 1])),
      ),
    ),
  );
}

function head(label, key, now, sort) {
  if (!key || now === null) return h("th", { scope: "col" }, label);
  const order = now === key ? "ascending" : now === `-${key}` ? "descending" : "none";
  const next = now === `-${key}` ? key : `-${key}`;
  const arrow = h("span", { "aria-hidden": "true" }, { ascending: " ↑", descending: " ↓", none: "" }[order]);
  const button = h("button", { type: "button", class: "sort", onclick: () => sort(next) }, label, arrow);
  return h("th", { scope: "col", "aria-sort": order }, button);
}

/**
 * A group that follows itself is drawn as one.
 * @param {string} run  @param {import("../api.js").Rollout} row  @param {import("../api.js").Rollout} [before]
 */
function completion(run, row, before) {
  const cell = (label, ...content) => h("td", { "data-label": label }, content);
  const same = before?.step === row.step && before.problem === row.problem;
  return h(
    "tr",
    { class: same && "same" },
    cell("Step", String(row.step)),
    cell("Problem", h("a", { href: toProblem(run, row.problem) }, visible(row.problem))),
    cell("No.", String(row.index + 1)),
    cell("Reward", verdict(row.reward, row.advantage, "")),
    cell("Advantage", signed(row.advantage)),
    cell("Tokens", row.tokens.toLocaleString("en")),
    cell("Finish", ended(row.finish)),
    cell("Failure", row.failure ? visible(row.failure) : ""),
    h(
      "th",
      { scope: "row", class: "snippet" },
      row.shown && h("span", { class: "mark", title: "Its tokens are kept, with ratio and entropy" }, "tokens"),
      h("a", { href: toGroup(run, row), "data-row": true }, visible(row.snippet) || "(empty)"),
    ),
  );
}
