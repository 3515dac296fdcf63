/** One run in a minute: did it learn, is something wrong, what did it cost. */

import { get, ofRun } from "../api.js";
import { Chart } from "../chart.js";
import { curveColor } from "../colors.js";
import { h, morph, say, svg, table, visible } from "../dom.js";
import { address, toGroup } from "../place.js";
import { STATES } from "./runs.js";
import { USUAL, duration, percent, plain, plural, signed, wholePercent } from "../words.js";

// The first three of these that the run has: of a training, or of a fine-tuning.
const FIRST = ["solved", "sft/loss", "reward/mean", "completions/length_mean", "policy/grad_norm"];

/** @param {string} run  @returns {Promise<import("../app.js").Page>} */
export async function open(run) {
  /** @type {Chart[]} */
  let charts = [];
  const grid = h("div", { class: "grid" });
  const strip = h(
    "section",
    { "aria-label": "Curves", "data-keep": true },
    h("h2", {}, "Step by step ", h("small", {}, h("a", { href: address(["curves"], { runs: run }) }, "all curves"))),
    grid,
  );
  const body = h("div", {});
  const look = {
    hidden: new Set(),
    zoom: null,
    paint: () => curveColor(0),
    onZoom: (zoom) => {
      look.zoom = zoom;
      draw();
    },
  };
  let curves = [];
  const draw = () => charts.forEach((chart, index) => curves[index] && chart.draw(curves[index], look));
  const load = async () => {
    const [data, names] = await Promise.all([get(ofRun(run)), charts.length ? [] : get("metrics", { runs: run })]);
    if (!charts.length)
      charts = FIRST.filter((name) => names.includes(name))
        .slice(0, 3)
        .map((name) => new Chart(USUAL.get(name), name));
    grid.append(...charts.map((chart) => chart.node).filter((node) => !node.parentNode));
    strip.hidden = !charts.length;
    curves = await Promise.all(
      charts.map(({ metric }) =>
        get("curves", { runs: run, metric, axis: "step", smooth: 0.6, seeds: "apart" }).catch(() => null),
      ),
    );
    const fresh = h("div", {}, parts(run, data, strip));
    body.childNodes.length ? morph(body, fresh) : body.append(...fresh.childNodes);
    if (body.isConnected) draw();
  };
  await load();
  const leave = () => charts.forEach((chart) => chart.leave());
  return { title: run, body, live: [run], refresh: load, draw, leave, up: "#/" };
}

/** @param {import("../api.js").Overview} data */
function parts(run, data, strip) {
  const stamp = [
    data.model,
    data.data,
    `seed ${data.seed}`,
    data.steps ? `step ${data.step} of ${data.steps}` : `step ${data.step}`,
    STATES[data.state] ?? data.state,
  ];
  return [
    h("header", {}, h("h1", { class: "unseen" }, `Overview of ${run}`), h("p", {}, stamp.filter(Boolean).join(" · "))),
    headline(data),
    section("Alarms", alarms(run, data.alarms)),
    section(
      "Notes",
      data.notes.length > 0 &&
        h(
          "ul",
          { class: "notes" },
          data.notes.map((note) => h("li", {}, visible(note))),
        ),
    ),
    strip.parentNode ? h("section", { "data-keep": true }) : strip,
    costs(data),
    h(
      "section",
      {},
      h("h2", {}, "Settings"),
      h(
        "details",
        { class: "card" },
        h("summary", {}, h("b", {}, "config.toml")),
        h("div", { class: "inside" }, h("pre", { class: "tall" }, visible(data.config))),
      ),
      h("p", { class: "path" }, data.path),
    ),
  ];
}

// A section that has nothing to say keeps its place, so that those below it are the same when it appears.
const section = (title, content) => h("section", {}, content ? [h("h2", {}, title), content] : []);

function headline(data) {
  const tiles = data.tiles.map((tile) =>
    h("div", { class: "card tile" }, h("b", {}, tile.value), h("span", {}, tile.name)),
  );
  return h("section", { class: "hero", "aria-label": "Result" }, result(data), h("div", { class: "tiles" }, tiles));
}

function result({ headline: found, step }) {
  if (!found) {
    const why = step ? "No result yet: it takes two evaluations, or two steps." : "No step has been finished yet.";
    return h("div", { class: "card result" }, h("p", { class: "label" }, why));
  }
  const { before, after, change, label } = found;
  const kind = change > 0 ? "good" : change < 0 ? "bad" : "";
  const ends = [before, after].filter((one) => one.low !== null && one.low !== undefined && one.high > one.low);
  const about = ends.map((one) => `${percent(one.low)} – ${percent(one.high)}`).join(", then ");
  return h(
    "div",
    { class: "card result" },
    h("p", { class: "label" }, label ?? "Solved, before → after"),
    h("p", { class: "big" }, percent(before.value), h("i", {}, "→"), percent(after.value)),
    h(
      "p",
      { class: "label" },
      h("span", { class: `change ${kind}` }, `${signed(100 * change, 1)} points`),
      about && ` 95% intervals ${about}`,
    ),
    ends.length ? whiskers(before, after) : "",
  );
}

/** Both shares on one scale from nothing to all, with their intervals. */
function whiskers(before, after) {
  const row = (one, y, name, kind) => [
    svg("text", { x: 0, y: y + 4, class: "tick" }, name),
    svg("line", {
      x1: 50 + 4.5 * 100 * (one.low ?? one.value),
      x2: 50 + 4.5 * 100 * (one.high ?? one.value),
      y1: y,
      y2: y,
      class: `whisker ${kind}`,
    }),
    svg("circle", { cx: 50 + 4.5 * 100 * one.value, cy: y, r: 5, class: `dot ${kind}` }),
  ];
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => [
    svg("line", { x1: 50 + 450 * share, x2: 50 + 450 * share, y1: 4, y2: 56, class: "grid" }),
    svg(
      "text",
      { x: 50 + 450 * share, y: 70, class: "tick", "text-anchor": share === 1 ? "end" : share ? "middle" : "start" },
      wholePercent(share),
    ),
  ]);
  return svg(
    "svg",
    { viewBox: "0 0 504 74", class: "strip", "aria-hidden": "true" },
    ticks,
    row(before, 18, "before", "c5"),
    row(after, 42, "after", "c1"),
  );
}

/** Newest first; one that was cleared says so. @param {import("../api.js").Alarm[]} rows */
function alarms(run, rows) {
  if (!rows.length) return null;
  const last = new Map(rows.map((alarm) => [alarm.name, alarm]));
  const isOver = (alarm) => last.get(alarm.name).cleared;
  const list = (chosen) =>
    h(
      "ul",
      { class: "alarms" },
      chosen.map((alarm) => item(run, alarm, isOver(alarm))),
    );
  const newest = [...rows].reverse();
  const [now, over] = [newest.filter((alarm) => !isOver(alarm)), newest.filter(isOver)];
  return h(
    "div",
    {},
    now.length ? list(now) : h("p", { class: "soft" }, "None now."),
    h(
      "details",
      { class: "card", hidden: !over.length },
      h("summary", {}, "Alarms that are over"),
      h("div", { class: "inside" }, list(over)),
    ),
  );
}

/** @param {import("../api.js").Alarm} alarm */
function item(run, alarm, over) {
  const numbers = Object.entries(alarm.numbers ?? {}).map(([name, value]) =>
    h("span", {}, `${name} `, h("b", {}, plain(value))),
  );
  const examples = (alarm.examples ?? []).map((one) =>
    h("a", { href: toGroup(run, one) }, `step ${one.step}, ${visible(one.problem)}, no. ${one.index + 1}`),
  );
  return h(
    "li",
    { class: `card alarm ${over ? "over" : ""}`, "data-key": `${alarm.name} ${alarm.step} ${alarm.cleared}` },
    h(
      "p",
      { class: "alarm-head" },
      h("b", {}, alarm.name),
      h("span", { class: "verdict" }, alarm.cleared ? "cleared" : over ? "raised, cleared since" : "raised"),
      h("span", { class: "soft" }, `step ${alarm.step}`),
    ),
    h("p", {}, visible(alarm.text)),
    numbers.length > 0 && h("p", { class: "numbers" }, numbers),
    examples.length > 0 && h("p", { class: "numbers" }, h("span", {}, plural(examples.length, "example")), examples),
  );
}

function costs(data) {
  const phases = Object.entries(data.phases ?? {}).sort((a, b) => b[1] - a[1]);
  const cost = Object.entries(data.cost ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
  const total = phases.reduce((sum, [, seconds]) => sum + seconds, 0);
  const most = Math.max(...phases.map(([, seconds]) => seconds), 1e-9);
  const bar = (seconds) => h("span", { class: "bar c1" }, h("i", { style: { width: `${(100 * seconds) / most}%` } }));
  const rows = phases.map(([name, seconds]) => [name, duration(seconds), percent(seconds / total), bar(seconds)]);
  if (!rows.length && !cost.length) return h("section", {});
  return h(
    "section",
    {},
    h("h2", {}, "What it cost"),
    h(
      "div",
      { class: "pair" },
      cost.length > 0 &&
        table(
          "Cost",
          ["Cost", ""],
          cost.map(([name, value]) => [
            name.replaceAll("_", " "),
            typeof value === "number" ? plain(value) : String(value),
          ]),
        ),
      rows.length > 0 && table("Time by phase", ["Phase", "time", "share", ""], rows),
    ),
  );
}
