/** What was measured on held-out problems, and which of them two evaluations disagree about. */

import { get, ofRun } from "../api.js";
import { h, say, table, visible, written } from "../dom.js";
import { verdict as mark } from "../marks.js";
import { keep } from "../place.js";
import { interval, percent, plain, plural } from "../words.js";

const MANY = 20; // problems shown at once

/** @param {string} run  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(run, query) {
  const all = await get(ofRun(run, "evaluations"));
  const up = `#/run/${encodeURIComponent(run)}`;
  const title = `Evaluations of ${run}`;
  if (!all.length)
    return {
      title,
      body: say("This run has no evaluation yet: they are made with eval.every, or by `grpo eval`."),
      live: [run],
      refresh: again(run, 0),
      up,
    };
  const chosen = { a: pick(all, query.get("a"), 0), b: pick(all, query.get("b"), all.length - 1) };
  const outcome = h("div", {});
  const show = () => compare(run, chosen, outcome);
  const choose = (side, label) => {
    chosen[side] = label;
    keep(["run", run, "evaluations"], chosen);
    show();
  };
  const body = h(
    "div",
    {},
    h("h1", { class: "unseen" }, title),
    measures(all),
    columns(all),
    all.length > 1 && [h("section", {}, h("h2", {}, "Won and lost"), chooser(all, chosen, choose), outcome)],
  );
  if (all.length > 1) show();
  return { title, body, live: [run], refresh: again(run, all.length), up };
}

const pick = (all, label, otherwise) => (all.some((one) => one.label === label) ? label : all[otherwise].label);

/** A new evaluation is worth a new page; anything else is not. */
const again = (run, before) => async () => {
  const now = await get(ofRun(run, "evaluations"));
  if (now.length !== before) window.dispatchEvent(new HashChangeEvent("hashchange"));
};

const namesOf = (all, part) => [...new Set(all.flatMap((one) => Object.keys(one[part] ?? {})))];
const isShare = (one) => one.mean >= 0 && one.mean <= 1 && (one.high ?? one.mean) <= 1;
const measured = (one) => (one ? interval(one, isShare(one) ? percent : plain) : "–");

/** @param {import("../api.js").Evaluation[]} all */
function measures(all) {
  const names = namesOf(all, "measures");
  const rows = all.map((one) => [
    visible(one.label),
    one.step === null ? "–" : String(one.step),
    String(one.problems),
    ...names.map((name) => measured(one.measures[name])),
  ]);
  return h(
    "section",
    {},
    h("h2", {}, "Evaluations ", h("small", {}, "means with 95% intervals")),
    table("Evaluations", ["Evaluation", "step", "problems", ...names], rows),
  );
}

/** By each column of the data: a row for each value, an evaluation for each column. */
function columns(all) {
  return namesOf(all, "columns").map((column) => {
    const values = [...new Set(all.flatMap((one) => Object.keys(one.columns?.[column] ?? {})))];
    const n = (value) => all.map((one) => one.columns?.[column]?.[value]?.n).find((found) => found !== undefined);
    const rows = values.map((value) => [
      visible(value),
      n(value) ?? "–",
      ...all.map((one) => measured(one.columns?.[column]?.[value])),
    ]);
    return h(
      "section",
      {},
      h("h2", {}, `By ${visible(column)}`),
      table(`By ${column}`, [visible(column), "problems", ...all.map((one) => visible(one.label))], rows),
    );
  });
}

function chooser(all, chosen, choose) {
  const select = (side, label) =>
    h(
      "label",
      {},
      label,
      h(
        "select",
        { name: side, onchange: (event) => choose(side, event.target.value) },
        all.map((one) => h("option", { value: one.label, selected: one.label === chosen[side] }, visible(one.label))),
      ),
    );
  return h("form", { class: "controls" }, select("a", "from"), select("b", "to"));
}

async function compare(run, { a, b }, outcome) {
  if (a === b)
    return outcome.replaceChildren(say("These two are the same evaluation: choose another to compare with."));
  outcome.setAttribute("aria-busy", "true");
  const found = await get(ofRun(run, "wonlost"), { a, b }).catch((error) => error);
  outcome.removeAttribute("aria-busy");
  if (found instanceof Error) return outcome.replaceChildren(say(found.message, "bad"));
  const tile = (value, name, kind = "") =>
    h("div", { class: "card tile" }, h("b", { class: kind }, value), h("span", {}, name));
  outcome.replaceChildren(
    h(
      "div",
      { class: "tiles five" },
      tile(String(found.won_count), "won", "good"),
      tile(String(found.lost_count), "lost", "bad"),
      tile(String(found.same_right), "right both times"),
      tile(String(found.same_wrong), "wrong both times"),
      tile(found.p === null ? "–" : plain(found.p), "p of a paired permutation test"),
    ),
    h("p", { class: "soft after" }, verdict(found)),
    problems("Lost", found.lost, found.lost_count, a, b),
    problems("Won", found.won, found.won_count, a, b),
  );
}

/** @param {import("../api.js").WonLost} found */
function verdict({ won_count: won, lost_count: lost, p }) {
  if (!won && !lost) return "The two agree about every problem.";
  if (p === null) return "";
  const how = `If neither were better, a difference as large as this would come about with probability ${plain(p)}`;
  return `${how}: ${p < 0.05 ? "chance alone rarely does this." : "chance alone can do this."}`;
}

function problems(title, rows, count, a, b) {
  if (!rows.length) return h("section", {}, h("h3", {}, title), say(`No problem was ${title.toLowerCase()}.`));
  const list = h(
    "div",
    {},
    rows.slice(0, MANY).map((row) => problem(row, a, b)),
  );
  const rest = rows.slice(MANY);
  const more =
    rest.length > 0 &&
    h(
      "button",
      {
        type: "button",
        onclick: (event) => {
          event.target.remove();
          list.append(...rest.map((row) => problem(row, a, b)));
        },
      },
      `Show ${plural(rest.length, "more problem")}`,
    );
  return h("section", {}, h("h3", {}, `${title}, ${plural(count, "problem")}`), list, more);
}

/** The end of a prompt, where the question stands, without the marks of its template. */
const gist = (prompt) =>
  prompt
    .replace(/<\|[^|]*\|>(system|user|assistant)?/g, " ")
    .replace(/\s+/g, " ")
    .trim()
    .replace(/^.*(?=.{120}$)/, "… ");

/** A problem folded up; its completions are made when it is opened. @param {import("../api.js").Change} row */
function problem(row, a, b) {
  const inside = h("div", { class: "inside" });
  const fill = (event) => {
    if (!event.target.open || inside.childNodes.length) return;
    inside.append(
      h("pre", { class: "prompt", tabindex: "0" }, visible(row.prompt)),
      row.gold !== null && h("p", { class: "gold" }, h("b", {}, "gold answer "), visible(row.gold)),
      h("div", { class: "samples two" }, side(a, row.a), side(b, row.b)),
    );
  };
  return h(
    "details",
    { class: "card", ontoggle: fill },
    h("summary", { "data-row": true }, h("b", {}, visible(row.problem)), h("span", {}, visible(gist(row.prompt)))),
    inside,
  );
}

function side(label, answers) {
  return h(
    "div",
    {},
    h("h4", {}, visible(label)),
    answers.map(({ completion, value }) =>
      h(
        "article",
        { class: "sample" },
        h("p", {}, mark(value, value > 0 ? 1 : -1, "")),
        h("pre", { tabindex: "0" }, completion ? written(completion) : "(empty)"),
      ),
    ),
  );
}
