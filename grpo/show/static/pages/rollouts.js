/** Every completion of a run, narrowed by filters that the address keeps. */

import { get, ofRun } from "../api.js";
import { h, say } from "../dom.js";
import { keep } from "../place.js";
import { follow } from "../trail.js";
import { plural } from "../words.js";
import { filterForm } from "./rollouts_form.js";
import { rolloutsTable } from "./rollouts_table.js";

const LIMIT = 50;
const FIELDS = "step_min step_max problem reward_min reward_max finish failure text useful sort".split(" ");
/** @param {string} run  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(run, query) {
  const page = new Rollouts(run, query);
  await page.load();
  return {
    title: `Rollouts of ${run}`,
    body: page.body,
    wide: true,
    live: [run],
    refresh: () => page.news(),
    keys: page.keys(),
    up: `#/run/${encodeURIComponent(run)}`,
  };
}

class Rollouts {
  constructor(run, query) {
    this.run = run;
    this.filter = Object.fromEntries(FIELDS.map((name) => [name, query.get(name) ?? ""]));
    this.filter.sort ||= "-step";
    this.offset = Math.max(0, Number(query.get("offset")) || 0);
    this.turn = 0;
    this.status = h("p", { class: "found", role: "status" });
    this.fresh = h("p", { class: "fresh", role: "status" });
    this.results = h("div", {});
    this.body = h(
      "div",
      {},
      h("h1", { class: "unseen" }, `Rollouts of ${run}`),
      filterForm(this.filter, { change: (form) => this.change(form), sort: (order) => this.sort(order) }),
      this.fresh,
      this.status,
      this.results,
    );
  }

  sort(order) {
    this.filter.sort = order;
    this.go(0);
  }

  change(form) {
    const given = new FormData(form);
    const next = Object.fromEntries(FIELDS.map((name) => [name, String(given.get(name) ?? "").trim()]));
    next.sort = this.filter.sort;
    if (JSON.stringify(next) === JSON.stringify(this.filter)) return;
    this.filter = next;
    this.go(0);
  }

  go(offset) {
    this.offset = offset;
    const sort = this.filter.sort === "-step" ? "" : this.filter.sort;
    keep(["run", this.run, "rollouts"], { ...this.filter, sort, offset: offset || "" });
    this.load();
  }

  async load() {
    const mine = ++this.turn;
    this.results.setAttribute("aria-busy", "true");
    const query = { ...this.filter, limit: LIMIT, offset: this.offset };
    const [answer, runs] = await Promise.all([
      get(ofRun(this.run, "rollouts"), query).catch((error) => error),
      get("runs").catch(() => []),
    ]);
    if (mine !== this.turn) return;
    this.results.removeAttribute("aria-busy");
    this.fresh.replaceChildren();
    this.step = runs.find((one) => one.id === this.run)?.step;
    if (answer instanceof Error) this.refuse(answer.message);
    else this.draw(answer);
  }

  refuse(sentence) {
    this.status.textContent = "";
    this.results.replaceChildren(say(sentence, "bad"));
  }

  /** @param {import("../api.js").Rollouts} answer */
  draw({ rows, total, more, back_to: backTo, unreadable }) {
    const narrowed = FIELDS.some((name) => name !== "sort" && this.filter[name]);
    if (!rows.length) {
      this.status.textContent = "";
      this.results.replaceChildren(
        say(
          backTo !== null
            ? `Not found in step ${backTo} and later, where the search ran out of time: look earlier with “to step”.`
            : narrowed
            ? "No completion passes these filters."
            : "No completion is kept yet: they come with the first finished step.",
        ),
      );
      return;
    }
    const [first, last] = [this.offset + 1, this.offset + rows.length];
    const all =
      total === null
        ? `; the search stopped at step ${backTo}, so there may be more than can be counted`
        : ` of ${plural(total, "completion")}`;
    const damaged = unreadable.length ? `; damaged, and left out: step ${unreadable.slice(0, 5).join(", ")}` : "";
    this.status.textContent = `${first.toLocaleString("en")} – ${last.toLocaleString("en")}${all}${damaged}`;
    follow(this.run, location.hash, rows);
    this.results.replaceChildren(
      rolloutsTable(this.run, rows, this.filter.text ? null : this.filter.sort, (order) => this.sort(order)),
      this.pages(rows.length, more),
    );
  }

  pages(length, more) {
    const button = (label, offset, possible) =>
      h(
        "button",
        {
          type: "button",
          disabled: !possible,
          onclick: () => {
            this.go(offset);
            this.body.scrollIntoView({ block: "start" });
          },
        },
        label,
      );
    return h(
      "nav",
      { class: "pages", "aria-label": "Pages" },
      button("← Previous", Math.max(0, this.offset - LIMIT), this.offset > 0),
      button("Next →", this.offset + length, more),
    );
  }

  keys() {
    const press = (index) => () => /** @type {any} */ (this.results.querySelectorAll(".pages button")[index])?.click();
    return { n: press(1), p: press(0) };
  }

  /** Rows do not move under the reader: a new step is offered. */
  async news() {
    const run = (await get("runs")).find((one) => one.id === this.run);
    if (!run || this.step === undefined || run.step <= this.step || this.fresh.childNodes.length) return;
    this.fresh.replaceChildren(
      "The run has gone on. ",
      h("button", { type: "button", onclick: () => this.load() }, "Show the new completions"),
    );
  }
}
