/** One problem over the whole run: how often it was solved, how long the answers were, and what was written when. */

import { get, ofRun } from "../api.js";
import { Chart } from "../chart.js";
import { curveColor } from "../colors.js";
import { h, morph, say, table, visible, written } from "../dom.js";
import { verdict } from "../marks.js";
import { toGroup, toRollouts } from "../place.js";
import { percent, plain, plural, signed } from "../words.js";

const STATIONS = 4; // steps that are shown beside each other

/** @param {string} run  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(run, query) {
  const problem = query.get("problem") ?? "";
  const charts = [new Chart("Solved", "solved"), new Chart("Length, tokens", "completions/length_mean")];
  const grid = h(
    "div",
    { class: "grid", "data-keep": true },
    charts.map((chart) => chart.node),
  );
  const look = {
    hidden: new Set(),
    zoom: null,
    paint: () => curveColor(0),
    onZoom: (zoom) => {
      look.zoom = zoom;
      draw();
    },
  };
  const body = h("div", {});
  let curves = [];
  const draw = () => charts.forEach((chart, index) => chart.draw(curves[index], look));
  const load = async () => {
    const data = await get(ofRun(run, "problem"), { problem });
    curves = [asCurve(data.steps, "solved"), asCurve(data.steps, "length_mean")];
    const fresh = h(
      "div",
      {},
      parts(run, data, grid.parentNode ? h("div", { "data-keep": true }) : grid, await stations(run, data)),
    );
    body.childNodes.length ? morph(body, fresh) : body.append(...fresh.childNodes);
    if (body.isConnected) draw();
  };
  await load();
  return {
    title: problem,
    body,
    live: [run],
    refresh: load,
    draw,
    leave: () => charts.forEach((chart) => chart.leave()),
    up: toRollouts(run),
  };
}

/** @returns {import("../api.js").Curves} */
function asCurve(steps, name) {
  const series = {
    run: "problem",
    label: "this problem",
    n: 1,
    x: steps.map((one) => one.step),
    y: steps.map((one) => one[name]),
    raw: null,
    low: null,
    high: null,
  };
  return { metric: name, axis: "step", series: [series], dots: [] };
}

function parts(run, data, grid, beside) {
  const rows = data.steps.map((one) => [
    h("a", { href: toGroup(run, { step: one.step, problem: data.problem }), "data-row": true }, `step ${one.step}`),
    String(one.n),
    percent(one.solved),
    plain(one.reward_mean),
    plain(one.length_mean),
    percent(one.truncated),
  ]);
  return [
    h("h1", {}, visible(data.problem), h("small", {}, `met in ${plural(data.steps.length, "step")}`)),
    h("pre", { class: "prompt card", tabindex: "0", "aria-label": "Prompt" }, visible(data.prompt)),
    h(
      "p",
      { class: "gold" },
      data.gold === null ? "This problem has no gold answer." : [h("b", {}, "gold answer "), visible(data.gold)],
    ),
    grid,
    beside,
    h(
      "section",
      {},
      h("h2", {}, "Step by step"),
      rows.length
        ? table(
            "Steps of this problem",
            ["Step", "completions", "solved", "mean reward", "mean tokens", "truncated"],
            rows,
          )
        : say("No step has sampled this problem yet."),
    ),
  ];
}

/** The first completion that was sampled, at a few steps from the first to the last: not chosen, so not flattering. */
async function stations(run, { steps, problem }) {
  const amount = Math.min(STATIONS, steps.length);
  const chosen = [
    ...new Set(
      Array.from({ length: amount }, (_, at) => Math.round((at * (steps.length - 1)) / Math.max(1, amount - 1))),
    ),
  ];
  const groups = await Promise.all(
    chosen.map((at) => get(ofRun(run, "group"), { step: steps[at].step, problem }).catch(() => null)),
  );
  const cards = groups
    .filter((group) => group?.completions.length)
    .map((group) => {
      const first = group.completions[0];
      return h(
        "article",
        { class: "sample", "data-key": group.step, "aria-label": `Step ${group.step}` },
        h(
          "p",
          {},
          h("a", { href: toGroup(run, { step: group.step, problem, index: first.index }) }, `step ${group.step}`),
          verdict(first.reward, first.advantage),
          h("span", {}, `advantage ${signed(first.advantage)}`),
          h("span", {}, plural(first.tokens, "token")),
        ),
        h(
          "pre",
          { tabindex: "0", "aria-label": `Completion of step ${group.step}` },
          first.text ? written(first.text) : "(empty)",
        ),
      );
    });
  return h(
    "section",
    {},
    cards.length > 0 && [
      h("h2", {}, "What it wrote ", h("small", {}, "the first completion sampled, at steps from first to last")),
      h("div", { class: "samples four" }, cards),
    ],
  );
}
