/** One group: the prompt, and what the model wrote to it, side by side, each with the reasons of its reward. */

import { get, ofRun } from "../api.js";
import { h, say, visible, written } from "../dom.js";
import { ended, reason, verdict } from "../marks.js";
import { here, keep, toGroup, toProblem, toRollouts } from "../place.js";
import { Tokens, keyOf, scaleOf } from "../tokens.js";
import { trail } from "../trail.js";
import { plain, plural, signed } from "../words.js";

/** @param {string} run  @param {URLSearchParams} query  @returns {Promise<import("../app.js").Page>} */
export async function open(run, query) {
  const [step, problem] = [Number(query.get("step")), query.get("problem") ?? ""];
  const [group, history] = await Promise.all([
    get(ofRun(run, "group"), { step, problem }),
    get(ofRun(run, "problem"), { problem }).catch(() => null),
  ]);
  const view = new GroupView(run, group, query);
  const ways = waysFrom(run, step, problem, history);
  const body = h(
    "div",
    {},
    head(run, group, ways),
    h("pre", { class: "prompt card", tabindex: "0", "aria-label": "Prompt" }, visible(group.prompt)),
    group.gold === null
      ? h("p", { class: "gold soft" }, "This problem has no gold answer.")
      : h("p", { class: "gold" }, h("b", {}, "gold answer "), visible(group.gold)),
    view.controls,
    view.grid,
  );
  const chosen = query.get("c");
  const shown = () => chosen !== null && view.reveal(Number(chosen));
  const keys = Object.fromEntries(
    ways.filter((way) => way.href).map((way) => [way.key, () => (location.hash = way.href)]),
  );
  const nothing = Object.fromEntries(ways.filter((way) => !way.href).map((way) => [way.key, () => undefined]));
  return {
    title: `${problem}, step ${step}`,
    body,
    wide: true,
    shown,
    keys: { ...keys, ...nothing },
    up: trail(run, step, problem)?.address ?? toRollouts(run),
  };
}

/** Where one can go from here: along the list, and along the steps of the problem. */
function waysFrom(run, step, problem, history) {
  const list = trail(run, step, problem);
  const steps = (history?.steps ?? []).map((one) => one.step);
  const [earlier, later] = [steps.findLast((one) => one < step), steps.find((one) => one > step)];
  const to = (where) => where && toGroup(run, where);
  return [
    { key: "k", label: "← previous group", href: to(list?.groups[list.at - 1]) },
    { key: "j", label: "next group →", href: to(list?.groups[list.at + 1]) },
    {
      key: "[",
      label: earlier === undefined ? "no earlier step" : `← step ${earlier}`,
      href: earlier !== undefined && to({ step: earlier, problem }),
    },
    {
      key: "]",
      label: later === undefined ? "no later step" : `step ${later} →`,
      href: later !== undefined && to({ step: later, problem }),
    },
  ];
}

function head(run, group, ways) {
  const link = ({ key, label, href }) =>
    href
      ? h("a", { href, class: "button", "aria-keyshortcuts": key }, label, h("kbd", {}, key))
      : h("span", { class: "button off" }, label);
  const place = trail(run, group.step, group.problem);
  const rewards = group.completions.map((one) => one.reward).filter((reward) => reward !== null);
  const mean = rewards.length ? `, mean reward ${plain(rewards.reduce((a, b) => a + b, 0) / rewards.length)}` : "";
  return h(
    "header",
    { class: "group-head" },
    h(
      "h1",
      {},
      visible(group.problem),
      h("small", {}, `step ${group.step}, ${plural(group.completions.length, "completion")}${mean}`),
    ),
    h(
      "nav",
      { class: "ways", "aria-label": "Groups" },
      place && [link(ways[0]), link(ways[1])],
      link(ways[2]),
      link(ways[3]),
      h("a", { class: "button", href: toProblem(run, group.problem) }, "over the whole run"),
      place && h("a", { class: "button", href: place.address }, "back to the list", h("kbd", {}, "u")),
    ),
  );
}

class GroupView {
  /** @param {string} run  @param {import("../api.js").Group} group  @param {URLSearchParams} query */
  constructor(run, group, query) {
    Object.assign(this, { run, group });
    this.scale = scaleOf(group.completions);
    this.tokens = [];
    this.measure = ["entropy", "none"].includes(query.get("colour")) ? query.get("colour") : "ratio";
    this.order = query.get("order") === "sampled" ? "sampled" : "best";
    this.key = h("div", {});
    this.grid = h("div", { class: "samples" });
    this.cards = new Map(group.completions.map((one) => [one.index, this.card(one)]));
    this.controls = this.makeControls();
    this.sort();
    this.color();
  }

  makeControls() {
    const choice = (name, legend, options, now, change) =>
      h(
        "fieldset",
        { class: "choice" },
        h("legend", {}, legend),
        options.map(([value, label]) =>
          h(
            "label",
            {},
            h("input", { type: "radio", name, value, checked: value === now, onchange: () => change(value) }),
            label,
          ),
        ),
      );
    const colours = [
      ["ratio", "importance ratio"],
      ["entropy", "entropy"],
      ["none", "none"],
    ];
    const order = choice(
      "order",
      "order",
      [
        ["best", "best first"],
        ["sampled", "as sampled"],
      ],
      this.order,
      (value) => {
        this.order = value;
        this.remember();
        this.sort();
      },
    );
    if (!this.tokens.length) {
      return h(
        "div",
        {},
        h("form", { class: "controls" }, order),
        h(
          "p",
          { class: "why soft" },
          "Tokens have no colours here: ratio and entropy are kept for the groups that are shown only, run.shown_groups of each step. “tokens” marks them in the list.",
        ),
      );
    }
    const colour = choice("colour", "token colours", colours, this.measure, (value) => {
      this.measure = value;
      this.remember();
      this.color();
    });
    return h("div", {}, h("form", { class: "controls" }, colour, order), this.key);
  }

  remember() {
    const { query } = here();
    const colour = this.measure === "ratio" ? "" : this.measure;
    keep(
      ["run", this.run, "group"],
      {
        step: this.group.step,
        problem: this.group.problem,
        c: query.get("c"),
        colour,
        order: this.order === "best" ? "" : this.order,
      },
      false,
    );
  }

  color() {
    for (const one of this.tokens) one.color(this.measure);
    this.key.replaceChildren(keyOf(this.measure, this.scale));
  }

  sort() {
    const worth = (one) => one.advantage ?? -Infinity;
    const rows = [...this.group.completions].sort(
      (a, b) => (this.order === "best" ? worth(b) - worth(a) : 0) || a.index - b.index,
    );
    this.grid.replaceChildren(
      ...(rows.length ? rows.map((one) => this.cards.get(one.index)) : [say("This group has no completion.")]),
    );
  }

  /** @param {import("../api.js").Completion} one */
  card(one) {
    const tokens = one.pieces ? new Tokens(one, this.scale) : null;
    if (tokens) this.tokens.push(tokens);
    const text =
      tokens?.text ??
      h(
        "pre",
        { tabindex: "0", "aria-label": `Completion ${one.index + 1}` },
        one.text ? written(one.text) : h("i", { class: "soft" }, "(empty)"),
      );
    return h(
      "article",
      { class: "sample", id: `c${one.index}`, "aria-label": `Completion ${one.index + 1}` },
      h(
        "p",
        {},
        h("span", { class: "soft" }, `no. ${one.index + 1}`),
        verdict(one.reward, one.advantage),
        h("span", {}, `advantage ${signed(one.advantage)}`),
        h("span", {}, `${plural(one.tokens, "token")}, ${ended(one.finish)}`),
        one.dropped && h("span", { class: "mark" }, "not learned from"),
      ),
      tokens?.readout,
      text,
      h("ul", {}, one.scores.map(reason)),
    );
  }

  /** The completion that the address names. */
  reveal(index) {
    const card = this.cards.get(index);
    card?.classList.add("named");
    card?.scrollIntoView({ block: "nearest" });
    card?.querySelector("pre")?.focus({ preventScroll: true });
  }
}
