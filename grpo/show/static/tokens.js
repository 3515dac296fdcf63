/** A completion token by token: colours by importance ratio or entropy, and the token under the pointer in words. */

import { edge, entropyClass, ratioClass } from "./colors.js";
import { h, visible } from "./dom.js";
import { plain } from "./words.js";

/** @typedef {"ratio"|"entropy"|"none"} Measure */

/**
 * What the ends of the colours mean, for all completions of a group, so that they can be compared.
 * @param {import("./api.js").Completion[]} completions
 */
export function scaleOf(completions) {
  const all = (name) => completions.flatMap((one) => one[name] ?? []);
  return {
    ratio: edge(
      all("ratios").map((ratio) => Math.abs(Math.log(ratio))),
      Math.log(1.05),
    ),
    entropy: edge(all("entropies"), 0.1),
  };
}

/** The colours' key. @param {Measure} measure */
export function keyOf(measure, scale) {
  if (measure === "none") return h("p", { class: "scale" });
  const ends =
    measure === "ratio" ? [Math.exp(-scale.ratio), 1, Math.exp(scale.ratio)] : [0, scale.entropy / 2, scale.entropy];
  const about =
    measure === "ratio"
      ? "Blue: the policy finds the token less likely than the sampler did. Orange: more likely. Colours go by the logarithm; the outermost hundredth is beyond the ends."
      : "Nats: how open the choice was for the policy, before the step’s update.";
  return h(
    "div",
    { class: "scale" },
    h(
      "div",
      {},
      h("div", { class: `ramp ${measure}`, role: "img", "aria-label": `From ${ends.map(plain).join(" over ")}` }),
      h(
        "p",
        { class: "ends", "aria-hidden": "true" },
        ends.map((end) => h("span", {}, plain(end))),
      ),
    ),
    h("p", { class: "soft" }, about),
  );
}

/** A piece as it can be read in a line: " a\n" → "␣a⏎". */
const inLine = (piece) => visible(piece.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣"));

/** Completions far below the reader are plain text until they come near: sixteen of 4,000 tokens would take seconds. */
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) target.tokens.build();
  },
  { rootMargin: "600px" },
);

export class Tokens {
  /** @param {import("./api.js").Completion} completion  @param {ReturnType<typeof scaleOf>} scale */
  constructor(completion, scale) {
    Object.assign(this, { completion, scale });
    this.at = -1;
    this.measure = "none";
    /** @type {any[]} */
    this.spans = [];
    this.text = h(
      "pre",
      {
        tabindex: "0",
        class: "tokens",
        role: "group",
        "aria-label": `Completion ${completion.index + 1}, token by token; the arrow keys go from one to the next`,
        onkeydown: (event) => this.key(event),
      },
      visible(completion.pieces.join("")),
    );
    this.text.tokens = this;
    this.text.addEventListener("pointerover", (event) => event.target.at !== undefined && this.point(event.target.at));
    this.text.addEventListener("focus", () => this.at < 0 && this.text.matches(":focus-visible") && this.point(0));
    this.readout = h("p", { class: "readout", role: "status" }, "Point at a token for its numbers.");
    near.observe(this.text);
  }

  build() {
    near.unobserve(this.text);
    if (this.spans.length) return;
    this.spans = this.completion.pieces.map((piece, index) => {
      const span = h("span", { class: "t" }, visible(piece));
      span.at = index;
      return span;
    });
    this.color(this.measure);
    this.text.replaceChildren(...this.spans);
  }

  /** @param {Measure} measure */
  color(measure) {
    this.measure = measure;
    const { ratios, entropies } = this.completion;
    const of = {
      ratio: (at) => ratioClass(ratios?.[at], this.scale.ratio),
      entropy: (at) => entropyClass(entropies?.[at], this.scale.entropy),
      none: () => "",
    }[measure];
    this.spans.forEach((span, at) => (span.className = `t ${of(at)}`));
    this.spans[this.at]?.classList.add("now");
  }

  point(at) {
    this.build();
    if (!this.spans[at]) return;
    const { pieces, ratios, entropies } = this.completion;
    this.spans[this.at]?.classList.remove("now");
    this.at = at;
    this.spans[at].classList.add("now");
    this.readout.replaceChildren(
      h("code", {}, inLine(pieces[at]) || "(empty)"),
      h("span", {}, "ratio ", h("b", {}, plain(ratios?.[at]))),
      h("span", {}, "entropy ", h("b", {}, plain(entropies?.[at]))),
      h("span", { class: "soft" }, `token ${at + 1} of ${pieces.length}`),
    );
  }

  key(event) {
    const last = this.completion.pieces.length - 1;
    const next = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: last }[event.key];
    if (next === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.point(Math.min(last, Math.max(0, next)));
    this.spans[this.at].scrollIntoView({ block: "nearest" });
  }
}
