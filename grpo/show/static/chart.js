/**
 * One metric as curves: uPlot (MIT, in vendor/) draws them; this file gives it our data, colours and keys.
 *
 * All charts of a page share the crosshair, and a zoom is handed to the page, so that it holds for all of them.  What
 * the curves say at the crosshair, or at their end, stands in the caption: it takes the same room before and after.
 */

import { AXES, axesOf, css } from "./axes.js";
import { h } from "./dom.js";
import { drawDots, nearest } from "./dots.js";
import uPlot from "./vendor/uPlot.esm.js";
import { formatOf, interval, isShare, wholePercent } from "./words.js";

const HEIGHT = 190; // px

const idOf = (series) => series.experiment ?? series.run;

/**
 * @typedef {{hidden: Set<string>, zoom: [number, number]|null, paint: (id: string) => {color: string, dash: number[]},
 *   onZoom: (range: [number, number]|null) => void, owner?: (run: string) => string|undefined}} Look
 */

export class Chart {
  /** @param {string} title  @param {string} metric  @param {Node|null} [corner]  a button, say */
  constructor(title, metric, corner = null) {
    this.metric = metric;
    this.title = title;
    this.format = formatOf(metric);
    this.values = h("div", { class: "values" });
    this.spoken = h("p", { class: "unseen", "aria-live": "polite" });
    this.plot = h("div", { class: "plot", tabindex: "0", role: "img", onkeydown: (event) => this.key(event) });
    this.node = h(
      "figure",
      { class: "card chart", "data-keep": true, "data-metric": metric },
      h("figcaption", {}, h("div", { class: "chart-title" }, h("h3", {}, title), corner), this.values),
      this.plot,
      this.spoken,
    );
    this.u = null;
    this.built = "";
    this.observer = new ResizeObserver(() => this.u?.setSize({ width: this.plot.clientWidth, height: HEIGHT }));
    this.observer.observe(this.plot);
  }

  /** @param {import("./api.js").Curves} curves  @param {Look} look */
  draw(curves, look) {
    this.curves = { ...curves, series: curves.series.filter((one) => one.x.length) };
    this.look = look;
    this.axis = AXES[curves.axis] ?? AXES.step;
    const shown = this.shown();
    this.plot.classList.toggle("nothing", shown.length === 0);
    this.dots = curves.dots.filter((dot) => !look.hidden.has(dot.run) && !look.hidden.has(this.owner(dot.run)));
    const shape = JSON.stringify([
      curves.axis,
      shown.map((one) => [idOf(one), Boolean(one.raw), Boolean(one.low)]),
      css("--c1"),
    ]);
    if (shape === this.built && this.u) {
      this.u.setData(this.table(shown));
    } else {
      this.u?.destroy();
      this.u = shown.length ? new uPlot(this.options(shown), this.table(shown), this.plot) : null;
      this.built = shape;
    }
    this.say();
  }

  shown() {
    return this.curves.series.filter((one) => !this.look.hidden.has(idOf(one)));
  }

  /** The series that a run's dot belongs to: its own, or its experiment's where seeds are drawn together. */
  owner(run) {
    return this.look.owner?.(run) ?? run;
  }

  table(shown) {
    this.lines = []; // the column of each series' curve in the joined table
    let column = 1;
    const tables = shown.map((one) => {
      this.lines.push(column);
      const columns = [one.y, ...(one.raw ? [one.raw] : []), ...(one.low ? [one.low, one.high] : [])];
      column += columns.length;
      return [one.x, ...columns];
    });
    return uPlot.join(tables);
  }

  options(shown) {
    const series = [{}];
    const bands = [];
    for (const one of shown) {
      const { color, dash } = this.look.paint(idOf(one));
      const points = { show: one.x.length < 3, size: 6, fill: color };
      series.push({ stroke: color, width: 2, dash, points });
      if (one.raw) series.push({ stroke: `${color}59`, width: 1, points: { show: false } });
      if (one.low) {
        bands.push({ series: [series.length + 1, series.length], fill: `${color}2b` });
        series.push({ points: { show: false } }, { points: { show: false } });
      }
    }
    return {
      width: this.plot.clientWidth || 320,
      height: HEIGHT,
      series,
      bands,
      legend: { show: false },
      padding: [8, 10, 0, 0],
      scales: {
        x: { time: false, range: (_, low, high) => this.look.zoom ?? this.wide(low, high) },
        y: { range: (u, low, high) => this.range(u, low, high) },
      },
      axes: axesOf(this.axis, (ticks) => this.ticks(ticks)),
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { x: true, y: false, setScale: false },
        sync: { key: "all", scales: ["x", null] },
        bind: { dblclick: () => () => this.look.onZoom(null) },
      },
      hooks: {
        setCursor: [() => this.say()],
        setSelect: [(u) => this.selected(u)],
        draw: [(u) => drawDots(u, this.dots, (run) => this.look.paint(this.owner(run)).color, css("--card"))],
      },
    };
  }

  /** From the first point to the last, evaluations among them: the one before training is at 0. */
  wide(low, high) {
    const ends = [low, high, ...this.dots.map((dot) => dot.x)].filter((end) => end !== null && end !== undefined);
    const [least, most] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
    return least === most ? [least - 1, most + 1] : [least, most];
  }

  ticks(values) {
    const wide = values.length < 2 || values[1] - values[0] >= 0.01;
    return values.map(isShare(this.metric) && wide ? wholePercent : this.format);
  }

  /** Room for the curves and the whiskers in sight; a share starts at nothing and does not pass the whole. */
  range(u, low, high) {
    const { min, max } = u.scales.x;
    const seen = this.dots.filter((dot) => min === undefined || min === null || (dot.x >= min && dot.x <= max));
    const ends = [low, high, ...seen.flatMap((dot) => [dot.low ?? dot.y, dot.high ?? dot.y])].filter(
      (end) => end !== null && end !== undefined,
    );
    if (!ends.length) return [0, 1];
    const [least, most] = [Math.min(...ends), Math.max(...ends)];
    if (isShare(this.metric)) return [0, Math.min(1, Math.max(1.08 * most, 0.02))];
    return uPlot.rangeNum(least, most, 0.1, true);
  }

  selected(u) {
    if (u.select.width < 4) return;
    const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.look.onZoom(/** @type {[number, number]} */ (range));
  }

  /** The caption: each curve's value at the crosshair, or its last. */
  say() {
    const shown = this.shown();
    const u = this.u;
    const at = u?.cursor.left >= 0 ? u.cursor.idx : null;
    const last = (values) => values.findLast((value) => value !== null && value !== undefined);
    const keys = shown.map((one, index) => {
      const values = u?.data[this.lines[index]] ?? one.y;
      const row = at === null || at === undefined ? null : (u.cursor.idxs?.[this.lines[index]] ?? at);
      const read = (list) => this.format(row === null ? last(list) : list[row]);
      const raw = one.raw && shown.length === 1 && `${read(u?.data[this.lines[index] + 1] ?? one.raw)} raw`;
      return key(this.look.paint(idOf(one)).color, one.label, read(values), shown.length > 1, raw);
    });
    const x = at === null || at === undefined ? null : u.data[0][at];
    const dots = shown.map((one) =>
      nearest(
        this.dots.filter((dot) => this.owner(dot.run) === idOf(one)),
        x,
      ),
    );
    const held = dots.flatMap((dot, index) =>
      !dot
        ? []
        : key(
            this.look.paint(idOf(shown[index])).color,
            shown[index].label,
            shown.length > 1 ? this.format(dot.y) : interval({ ...dot, mean: dot.y }, this.format),
            shown.length > 1,
          ),
    );
    const row = (name, list) => h("p", {}, h("span", { class: "at" }, name), ...list);
    this.values.replaceChildren(
      row(x === null ? "last" : this.axis.value(x), keys),
      ...(held.length ? [row("held-out", held)] : []),
    );
    this.plot.setAttribute(
      "aria-label",
      `${this.title} by ${this.axis.title}. ${this.values.textContent}. Arrow keys move along it.`,
    );
  }

  /** Arrows move the crosshair, +, − and 0 zoom. */
  key(event) {
    const u = this.u;
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const wider = { "+": 0.5, "=": 0.5, "-": 2, 0: null }[event.key];
    if (!u || (move === undefined && wider === undefined) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const xs = u.data[0];
    const now = u.cursor.left >= 0 && u.cursor.idx !== null && u.cursor.idx !== undefined ? u.cursor.idx : xs.length;
    if (move === undefined) {
      const [low, high] = [u.scales.x.min, u.scales.x.max];
      const middle = xs[now] ?? (low + high) / 2;
      const half = (wider * (high - low)) / 2;
      const whole = wider === null || (wider > 1 && middle - half <= xs[0] && middle + half >= xs[xs.length - 1]);
      this.look.onZoom(whole ? null : [Math.max(xs[0], middle - half), middle + half]);
      return;
    }
    const next = Math.min(xs.length - 1, Math.max(0, now + move));
    u.setCursor({ left: u.valToPos(xs[next], "x"), top: 10 }, true, true);
    this.spoken.textContent = this.values.textContent;
  }

  leave() {
    this.observer.disconnect();
    this.u?.destroy();
  }
}

function key(color, label, value, named, raw = null) {
  return h(
    "span",
    { class: "key", title: label },
    named && h("i", { style: { background: color } }),
    h("b", {}, value),
    " ",
    raw,
  );
}
