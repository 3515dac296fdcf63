/** Any metric of the runs, by a word of its name: a list of ticks that a search narrows. */

import { h } from "./dom.js";
import { plural } from "./words.js";

export class Picker {
  /**
   * @param {string[]} names  @param {string[]} chosen  @param {string[]} usual
   * @param {(chosen: string[]) => void} changed
   */
  constructor(names, chosen, usual, changed) {
    Object.assign(this, { usual, changed });
    this.chosen = [...chosen];
    this.items = names.map((name) => {
      const box = h("input", {
        type: "checkbox",
        checked: chosen.includes(name),
        onchange: () => this.toggle(name, box.checked),
      });
      return { name, box, node: h("label", {}, box, name) };
    });
    this.found = h("p", { class: "soft", role: "status" });
    this.head = h("span", {});
    const search = h("input", {
      type: "search",
      placeholder: "such as entropy or time/",
      "aria-label": "Search metrics",
      "data-search": true,
      oninput: () => this.narrow(search.value),
      onkeydown: (event) => this.enter(event),
    });
    const back = h("button", { type: "button", onclick: () => this.set([...usual]) }, "The usual ones");
    this.node = h(
      "details",
      { class: "card picker" },
      h("summary", {}, h("b", {}, "Metrics"), this.head),
      h(
        "div",
        { class: "inside" },
        h("p", { class: "controls" }, search, back),
        this.found,
        h(
          "div",
          { class: "ticks" },
          this.items.map((item) => item.node),
        ),
      ),
    );
    this.narrow("");
    this.count();
  }

  narrow(words) {
    const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { name, node } of this.items) {
      node.hidden = !parts.every((part) => name.toLowerCase().includes(part));
      left += node.hidden ? 0 : 1;
    }
    this.found.textContent = left
      ? `${plural(left, "metric")}${parts.length ? " found" : ""}.`
      : "No metric has this in its name.";
  }

  /** Enter ticks the first that is found. */
  enter(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const first = this.items.find(({ node }) => !node.hidden);
    if (first) this.toggle(first.name, !first.box.checked);
  }

  /** A metric more, at the end, or one less; one always stays. */
  toggle(name, wanted) {
    const others = this.chosen.filter((one) => one !== name);
    this.set(wanted ? [...others, name] : others.length ? others : this.chosen);
  }

  set(chosen) {
    this.chosen = chosen;
    for (const { name, box } of this.items) box.checked = chosen.includes(name);
    this.count();
    this.changed([...chosen]);
  }

  count() {
    this.head.textContent = `${this.chosen.length} of ${this.items.length} shown; search to add any`;
  }
}
