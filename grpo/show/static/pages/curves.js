/** Curves of several runs, metric by metric, under one crosshair. */

import { get } from "../api.js";
import { Chart } from "../chart.js";
import { curveColor } from "../colors.js";
import { h, say } from "../dom.js";
import { Picker } from "../picker.js";
import { keep } from "../place.js";
import { drawLegend } from "../legend.js";
import { USUAL } from "../words.js";

/** @param {import("../api.js").Run[]} all  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(all, query) {
  const asked = query.get("runs")?.split(",").filter(Boolean) ?? [];
  const runs = asked.length ? all.filter((run) => asked.includes(run.id)) : all;
  if (!runs.length)
    return {
      title: "Curves",
      body: say("None of the runs in this address is served here; “Runs” above has all there are.", "bad"),
    };
  const ids = runs.map((run) => run.id).join(",");
  const names = await get("metrics", { runs: ids });
  if (!names.length)
    return {
      title: "Curves",
      body: say("No step has been finished yet: curves begin with the first."),
      live: runs.map((run) => run.id),
      refresh: async () => window.dispatchEvent(new HashChangeEvent("hashchange")),
    };
  const page = new Curves(runs, asked.length ? ids : "", names, query);
  await page.load();
  return {
    title: "Curves",
    body: page.body,
    wide: true,
    live: runs.map((run) => run.id),
    up: "#/",
    refresh: () => page.load(),
    draw: () => page.draw(),
    leave: () => page.leave(),
    keys: { 0: () => page.zoom(null) },
  };
}

class Curves {
  constructor(runs, ids, names, query) {
    Object.assign(this, { runs, ids, names });
    const usual = [...USUAL.keys()].filter((name) => names.includes(name));
    const wanted = query
      .get("metrics")
      ?.split(",")
      .filter((name) => names.includes(name));
    this.usual = usual.length ? usual : names.slice(0, 12);
    this.metrics = wanted?.length ? wanted : [...this.usual];
    this.axis = ["tokens", "time"].includes(query.get("axis")) ? query.get("axis") : "step";
    this.smooth = Math.min(0.99, Math.max(0, Number(query.get("smooth") ?? 0.6) || 0));
    this.seedable = new Set(runs.map((run) => run.experiment)).size < runs.length;
    this.seeds = this.seedable && query.get("seeds") === "together" ? "together" : "apart";
    const zoom = query.get("zoom")?.split("~").map(Number) ?? [];
    /** @type {import("../chart.js").Look} */
    this.look = {
      hidden: new Set(this.hiddenFrom(query.get("hidden")?.split(",").filter(Boolean) ?? [])),
      zoom: zoom.length === 2 && zoom.every(Number.isFinite) ? zoom : null,
      paint: (id) => curveColor(Math.max(0, this.order.indexOf(id))),
      onZoom: (range) => this.zoom(range),
      owner: (id) => this.keyOf(this.runs.find((run) => run.id === id) ?? { id }),
    };
    this.charts = new Map();
    this.answers = new Map();
    this.turn = 0;
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Runs shown" });
    this.grid = h("div", { class: "grid" });
    this.reset = h("button", { type: "button", hidden: true, onclick: () => this.zoom(null) }, "Whole range");
    this.hint = h("span", { class: "soft hint" }, "Drag in a chart to look closer; double click for the whole range.");
    this.picker = new Picker(names, this.metrics, this.usual, (metrics) => this.choose(metrics));
    this.body = h("div", {}, h("h1", {}, "Curves"), this.controls(), this.legend, this.picker.node, this.grid);
  }

  /** What a run's curve goes by: an experiment's is a long name, so addresses name runs. */
  keyOf(run) {
    return this.seeds === "together" ? run.experiment : run.id;
  }

  hiddenFrom(ids) {
    return this.runs.filter((run) => ids.includes(run.id)).map((run) => this.keyOf(run));
  }

  controls() {
    const choices = (name, options, now) =>
      h(
        "fieldset",
        { class: "choice" },
        h("legend", {}, name),
        Object.entries(options).map(([value, label]) =>
          h(
            "label",
            {},
            h("input", {
              type: "radio",
              name,
              value,
              checked: value === now,
              onchange: () => this.set({ [name]: value }),
            }),
            label,
          ),
        ),
      );
    const shown = h("output", {}, this.smooth.toFixed(2));
    const slider = h("input", {
      type: "range",
      min: 0,
      max: 0.99,
      step: 0.01,
      value: this.smooth,
      "aria-label": "Smoothing",
      oninput: (event) => {
        shown.textContent = Number(event.target.value).toFixed(2);
        clearTimeout(this.later);
        this.later = setTimeout(() => this.set({ smooth: Number(event.target.value) }), 120);
      },
    });
    return h(
      "form",
      { class: "controls", onsubmit: (event) => event.preventDefault() },
      choices("axis", { step: "step", tokens: "tokens", time: "time" }, this.axis),
      this.seedable && choices("seeds", { apart: "apart", together: "mean and interval" }, this.seeds),
      h("label", { class: "slider" }, "smoothing", slider, shown),
      this.reset,
      this.hint,
    );
  }

  set(change) {
    if (change.axis || change.seeds) this.look.zoom = null;
    if (change.seeds) this.look.hidden.clear();
    Object.assign(this, change);
    this.remember();
    this.load();
  }

  choose(metrics) {
    this.metrics = metrics;
    this.remember();
    this.load();
  }

  zoom(range) {
    this.look.zoom = range;
    this.remember();
    this.draw();
  }

  remember() {
    const usual = this.metrics.join() === this.usual.join();
    keep(
      ["curves"],
      {
        runs: this.ids,
        metrics: usual ? "" : this.metrics.join(","),
        axis: this.axis === "step" ? "" : this.axis,
        smooth: this.smooth === 0.6 ? "" : this.smooth,
        seeds: this.seeds === "apart" ? "" : this.seeds,
        hidden: this.runs
          .filter((run) => this.look.hidden.has(this.keyOf(run)))
          .map((run) => run.id)
          .join(","),
        zoom: this.look.zoom?.map((end) => Number(end.toPrecision(6))).join("~"),
      },
      false,
    );
  }

  /** Asks for all curves and then draws them together, so that the charts do not jump one after another. */
  async load() {
    const mine = ++this.turn;
    const ids = this.runs.map((run) => run.id).join(",");
    const { axis, smooth, seeds } = this;
    const answers = await Promise.all(
      this.metrics.map((metric) => get("curves", { runs: ids, metric, axis, smooth, seeds }).catch((error) => error)),
    );
    if (mine !== this.turn) return;
    this.answers = new Map(this.metrics.map((metric, index) => [metric, answers[index]]));
    const found = answers.filter((answer) => answer.series).flatMap((answer) => answer.series);
    const labels = new Map(found.map((one) => [one.experiment ?? one.run, one]));
    const wanted = [...new Set(this.runs.map((run) => this.keyOf(run)))];
    this.order = wanted.filter((id) => labels.has(id));
    this.labels = labels;
    this.place();
    if (this.body.isConnected) this.draw();
  }

  /** One figure for each metric, in the order chosen; those that stay are not touched. */
  place() {
    for (const metric of this.metrics) {
      if (this.charts.has(metric)) continue;
      const away = h(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Remove ${metric}`,
          title: "Remove",
          onclick: () => this.picker.toggle(metric, false),
        },
        "×",
      );
      this.charts.set(metric, new Chart(USUAL.get(metric) ?? metric, metric, away));
    }
    for (const [metric, chart] of this.charts) {
      if (this.metrics.includes(metric)) continue;
      chart.leave();
      chart.node.remove();
      this.charts.delete(metric);
    }
    this.metrics.forEach((metric, index) => {
      const node = this.charts.get(metric).node;
      if (this.grid.children[index] !== node) this.grid.insertBefore(node, this.grid.children[index] ?? null);
    });
  }

  draw() {
    this.reset.hidden = !this.look.zoom; // one takes the other's place, and no chart moves
    this.hint.hidden = Boolean(this.look.zoom);
    drawLegend(
      this.legend,
      this.order.map((id) => this.labels.get(id)),
      this.look,
      (id) => this.toggle(id),
    );
    for (const [metric, chart] of this.charts) {
      const curves = this.answers.get(metric);
      if (curves?.series) chart.draw(curves, this.look);
      else if (curves) chart.values.textContent = curves.message;
    }
  }

  toggle(id) {
    this.look.hidden.delete(id) || this.look.hidden.add(id);
    this.remember();
    this.draw();
  }

  leave() {
    for (const chart of this.charts.values()) chart.leave();
  }
}
