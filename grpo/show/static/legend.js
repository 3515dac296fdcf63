/** Which colour is which run; a press hides its curves, or shows them again. */

import { h } from "./dom.js";

/**
 * @param {HTMLElement} node  @param {import("./api.js").Series[]} all  @param {import("./chart.js").Look} look
 * @param {(id: string) => void} toggle
 */
export function drawLegend(node, all, look, toggle) {
  const focused = [...node.children].indexOf(document.activeElement);
  node.replaceChildren(...all.map((series) => key(series, look, toggle)));
  if (focused >= 0) /** @type {HTMLElement} */ (node.children[focused])?.focus();
}

function key(series, look, toggle) {
  const id = series.experiment ?? series.run;
  const { color, dash } = look.paint(id);
  const line = h("i", { class: dash.length > 0 && "dashed", style: { "--color": color } });
  const pressed = String(!look.hidden.has(id));
  const attributes = { type: "button", class: "legend-key", "aria-pressed": pressed, onclick: () => toggle(id) };
  return h("button", attributes, line, series.label);
}
