/** All runs: which learned, which goes on, which says that something is wrong. */

import { get, ofRun } from "../api.js";
import { curveColor } from "../colors.js";
import { h, morph, say, svg } from "../dom.js";
import { address, toRun } from "../place.js";
import { ago, percent, plural, signed } from "../words.js";

export const STATES = { running: "running", finished: "finished", stopped: "stopped", empty: "no step yet" };

/** @param {import("../api.js").Run[]} all  @returns {Promise<import("../app.js").Page>} */
export async function open(all) {
  if (!all.length)
    return {
      title: "Runs",
      body: say("There is no run here: give `grpo show` the folder that `grpo train --out` wrote."),
    };
  const picked = new Set();
  const known = { runs: all, more: new Map(), lines: new Map() };
  const body = h("div", {});
  const draw = () => {
    const fresh = h("div", {}, h("h1", {}, "Runs"), list(known, picked, draw), compare(picked));
    body.childNodes.length ? morph(body, fresh) : body.append(...fresh.childNodes);
  };
  const load = async (runs) => {
    known.runs = runs;
    draw();
    await Promise.all([details(runs, known), lines(runs, known)]);
    draw();
  };
  draw();
  load(all);
  return { title: "Runs", body, live: all.map((run) => run.id), refresh: async () => load(await get("runs")) };
}

/** Headline and alarms, which a run's own page has. */
async function details(runs, known) {
  await Promise.all(
    runs.map(async (run) => {
      const stamp = `${run.updated} ${run.step}`;
      if (known.more.get(run.id)?.stamp === stamp) return;
      known.more.set(run.id, { stamp, ...(await get(ofRun(run.id)).catch(() => ({}))) });
    }),
  );
}

async function lines(runs, known) {
  const curves = await get("curves", {
    runs: runs.map((run) => run.id).join(","),
    metric: "solved",
    axis: "step",
    smooth: 0.6,
    seeds: "apart",
  }).catch(() => null);
  for (const series of curves?.series ?? []) known.lines.set(series.run, series);
}

function list(known, picked, draw) {
  const seeds = new Map();
  for (const run of known.runs) seeds.set(run.experiment, (seeds.get(run.experiment) ?? 0) + 1);
  const heads = ["Run", "State", "Step", "Before → after", "Solved while training", "Alarms", "Compare"];
  return h(
    "div",
    { class: "card flush" },
    h(
      "table",
      { class: "runs" },
      h("caption", { class: "unseen" }, "Runs"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h(
        "tbody",
        {},
        known.runs.map((run, index) => row(run, index, known, seeds, picked, draw)),
      ),
    ),
  );
}

function row(run, index, known, seeds, picked, draw) {
  const more = known.more.get(run.id) ?? {};
  const raised = alarmsNow(more.alarms ?? []);
  const facts = [
    run.model,
    run.data,
    `seed ${run.seed}${seeds.get(run.experiment) > 1 ? `, one of ${seeds.get(run.experiment)} that differ in it only` : ""}`,
  ];
  const choose = (event) => {
    event.target.checked ? picked.add(run.id) : picked.delete(run.id);
    draw();
  };
  const cell = (label, ...content) => h("td", { "data-label": label }, content);
  return h(
    "tr",
    { "data-key": run.id },
    h(
      "th",
      { scope: "row" },
      h("a", { href: toRun(run.id), "data-row": true }, run.id),
      h("small", {}, facts.filter(Boolean).join(" · ")),
    ),
    cell(
      "State",
      h("span", { class: `state ${run.state}` }, STATES[run.state] ?? run.state),
      h("small", {}, ago(run.updated)),
    ),
    cell("Step", progress(run)),
    cell("Result", ...result(more.headline)),
    cell("Solved", spark(known.lines.get(run.id), index)),
    cell("Alarms", raised ? h("a", { href: toRun(run.id), class: "bad" }, plural(raised, "alarm")) : "none"),
    cell("Compare", h("input", { type: "checkbox", onchange: choose, "aria-label": `Compare ${run.id}` })),
  );
}

/** How many alarms were raised and not cleared since. */
export function alarmsNow(alarms) {
  const last = new Map(alarms.map((alarm) => [alarm.name, alarm]));
  return [...last.values()].filter((alarm) => !alarm.cleared).length;
}

function progress(run) {
  if (!run.steps) return `${run.step}`;
  return [`${run.step} of ${run.steps}`, h("progress", { value: run.step, max: run.steps, "aria-hidden": "true" })];
}

/** Held out or not is in the label: a run under way has only what it solved while training. */
function result(headline) {
  if (!headline) return ["–"];
  const { before, after, change, label } = headline;
  const kind = change > 0 ? "good" : change < 0 ? "bad" : "";
  const points = h("small", { class: kind }, `${signed(100 * change, 1)} points`);
  return [`${percent(before.value)} → ${percent(after.value)}`, points, label && h("small", {}, label)];
}

/** The share solved, small: the shape is what it says. */
function spark(series, index) {
  const values = (series?.y ?? []).filter((value) => value !== null);
  if (values.length < 2) return "–";
  const points = values.map(
    (value, at) => `${((100 * at) / (values.length - 1)).toFixed(1)},${(27 - 26 * value).toFixed(1)}`,
  );
  const last = percent(values[values.length - 1]);
  return svg(
    "svg",
    { viewBox: "0 0 100 28", class: "spark", role: "img", "aria-label": `now ${last}`, preserveAspectRatio: "none" },
    svg("path", { d: "M0 27.5H100", class: "zero" }),
    svg("polyline", { points: points.join(" "), style: { stroke: curveColor(index).color } }),
  );
}

function compare(picked) {
  const runs = [...picked].join(",");
  return h(
    "p",
    { class: "after" },
    picked.size > 1
      ? h(
          "a",
          { class: "button", href: address(["curves"], { runs }) },
          `Compare the curves of ${plural(picked.size, "run")}`,
        )
      : h(
          "span",
          { class: "soft" },
          "Tick two runs or more to see their curves together; “Curves” above has all of them.",
        ),
  );
}
