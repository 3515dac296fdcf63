/** Every completion of a run, narrowed by filters that the address keeps. */

import { get, ofRun } from "../api.js";
import { h, say, visible } from "../dom.js";
import { ended, verdict } from "../marks.js";
import { keep, toGroup, toProblem } from "../place.js";
import { follow } from "../trail.js";
import { plain, plural, signed } from "../words.js";

const LIMIT = 50;
const FIELDS = ["step_min", "step_max", "problem", "reward_min", "reward_max", "finish", "failure", "text", "useful", "sort"];
const FINISHES = [["", "any"], ["stop", "ended by itself"], ["length", "ran out of room"]];
const FAILURES = [["", "any or none"], ["timeout", "timeout"], ["crash", "crash"], ["fault", "fault"]];
const ORDERS = [["-step", "newest first"], ["step", "oldest first"], ["-reward", "best first"], ["reward", "worst first"], ["-tokens", "longest first"], ["tokens", "shortest first"]];
const COLUMNS = [["Step", "step"], ["Problem"], ["No."], ["Reward", "reward"], ["Advantage"], ["Tokens", "tokens"], ["Finish"], ["Failure"], ["Completion"]];

/** @param {string} run  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(run, query) {
  const page = new Rollouts(run, query);
  await page.load();
  return { title: `Rollouts of ${run}`, body: page.body, wide: true, live: [run], refresh: () => page.news(), keys: page.keys(), up: `#/run/${encodeURIComponent(run)}` };
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
    this.body = h("div", {}, h("h1", { class: "unseen" }, `Rollouts of ${run}`), this.form(), this.fresh, this.status, this.results);
  }

  form() {
    const field = (label, name, attributes = {}) => h("label", {}, label, h("input", { name, value: this.filter[name], autocomplete: "off", ...attributes }));
    const number = { type: "number", step: "any", size: 6 };
    const choice = (label, name, options) => h("label", {}, label, h("select", { name },
      options.map(([value, text]) => h("option", { value, selected: value === this.filter[name] }, text))));
    const later = () => {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.change(form), 300);
    };
    const form = h("form", { class: "card filters", role: "search", "aria-label": "Filter completions", oninput: later, onsubmit: (event) => {
      event.preventDefault();
      this.change(form);
    } },
    field("Text", "text", { type: "search", "data-search": true, placeholder: "in the completion" }),
    field("Problem", "problem", { type: "search", placeholder: "its id" }),
    h("fieldset", {}, h("legend", {}, "Steps"), field("from", "step_min", { ...number, min: 0, step: 1 }), field("to", "step_max", { ...number, min: 0, step: 1 })),
    h("fieldset", {}, h("legend", {}, "Reward"), field("from", "reward_min", number), field("to", "reward_max", number)),
    choice("Finish", "finish", FINISHES),
    choice("Failure", "failure", FAILURES),
    h("label", { class: "tick-label" }, h("input", { type: "checkbox", name: "useful", value: "true", checked: this.filter.useful === "true" }), "groups with a signal only"),
    h("label", { class: "narrow-only" }, "Order", this.orders()),
    h("button", { type: "button", onclick: () => this.clear(form) }, "Clear"));
    return form;
  }

  /** Where the table has no heads to sort by, on a phone. */
  orders() {
    return h("select", { oninput: (event) => event.stopPropagation(), onchange: (event) => this.sort(event.target.value) },
      ORDERS.map(([value, label]) => h("option", { value, selected: value === this.filter.sort }, label)));
  }

  sort(order) {
    this.filter.sort = order;
    this.go(0);
  }

  clear(form) {
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = false;
      else if (field.name) field.value = "";
    }
    this.change(form);
  }

  change(form) {
    clearTimeout(this.later);
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
    const answer = await get(ofRun(this.run, "rollouts"), { ...this.filter, limit: LIMIT, offset: this.offset }).catch((error) => error);
    if (mine !== this.turn) return;
    this.results.removeAttribute("aria-busy");
    this.fresh.replaceChildren();
    const overview = await get("runs").catch(() => []);
    this.step = overview.find((one) => one.id === this.run)?.step;
    if (answer instanceof Error) this.refuse(answer.message);
    else this.draw(answer);
  }

  refuse(sentence) {
    this.status.textContent = "";
    this.results.replaceChildren(say(sentence, "bad"));
  }

  /** @param {import("../api.js").Rollouts} answer */
  draw({ rows, total, more }) {
    const narrowed = FIELDS.some((name) => name !== "sort" && this.filter[name]);
    if (!rows.length) {
      this.status.textContent = "";
      this.results.replaceChildren(say(narrowed ? "No completion passes these filters." : "No completion is kept yet: they come with the first finished step."));
      return;
    }
    const [first, last] = [this.offset + 1, this.offset + rows.length];
    const all = total === null ? "; the search stopped early, so there may be more than can be counted" : ` of ${plural(total, "completion")}`;
    this.status.textContent = `${first.toLocaleString("en")} – ${last.toLocaleString("en")}${all}`;
    follow(this.run, location.hash, rows);
    this.results.replaceChildren(this.table(rows), this.pages(rows.length, more));
  }

  table(rows) {
    return h("div", { class: "card flush" }, h("table", { class: "rollouts" },
      h("caption", { class: "unseen" }, "Completions"),
      h("thead", {}, h("tr", {}, COLUMNS.map(([label, key]) => this.head(label, key)))),
      h("tbody", {}, rows.map((row, index) => this.row(row, rows[index - 1])))));
  }

  head(label, key) {
    if (!key) return h("th", { scope: "col" }, label);
    const now = this.filter.sort;
    const order = now === key ? "ascending" : now === `-${key}` ? "descending" : "none";
    const next = now === `-${key}` ? key : `-${key}`;
    return h("th", { scope: "col", "aria-sort": order }, h("button", { type: "button", class: "sort", onclick: () => this.sort(next) }, label,
      h("span", { "aria-hidden": "true" }, { ascending: " ↑", descending: " ↓", none: "" }[order])));
  }

  /** A group that follows itself is drawn as one. @param {import("../api.js").Rollout} row  @param {import("../api.js").Rollout} [before] */
  row(row, before) {
    const cell = (label, ...content) => h("td", { "data-label": label }, content);
    const same = before?.step === row.step && before.problem === row.problem;
    return h("tr", { class: same && "same" },
      cell("Step", String(row.step)),
      cell("Problem", h("a", { href: toProblem(this.run, row.problem) }, visible(row.problem))),
      cell("No.", String(row.index + 1)),
      cell("Reward", verdict(row.reward, row.advantage, "")),
      cell("Advantage", signed(row.advantage)),
      cell("Tokens", row.tokens.toLocaleString("en")),
      cell("Finish", ended(row.finish)),
      cell("Failure", row.failure ? visible(row.failure) : ""),
      h("th", { scope: "row", class: "snippet" },
        row.shown && h("span", { class: "mark", title: "Its tokens are kept, with ratio and entropy" }, "tokens"),
        h("a", { href: toGroup(this.run, row), "data-row": true }, visible(row.snippet) || "(empty)")));
  }

  pages(length, more) {
    const button = (label, offset, possible) => h("button", { type: "button", disabled: !possible, onclick: () => {
      this.go(offset);
      this.body.scrollIntoView({ block: "start" });
    } }, label);
    return h("nav", { class: "pages", "aria-label": "Pages" },
      button("← Previous", Math.max(0, this.offset - LIMIT), this.offset > 0), button("Next →", this.offset + length, more));
  }

  keys() {
    const press = (index) => () => /** @type {any} */ (this.results.querySelectorAll(".pages button")[index])?.click();
    return { n: press(1), p: press(0) };
  }

  /** Rows do not move under the reader: a new step is offered. */
  async news() {
    const run = (await get("runs")).find((one) => one.id === this.run);
    if (!run || this.step === undefined || run.step <= this.step || this.fresh.childNodes.length) return;
    this.fresh.replaceChildren("The run has gone on. ", h("button", { type: "button", onclick: () => this.load() }, "Show the new completions"));
  }
}
