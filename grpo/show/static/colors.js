/** Colours of curves and tokens.  Names of colours are the report's; what they look like, style.css says. */

import { css } from "./axes.js";

const CURVES = ["--c1", "--c2", "--c3", "--c4", "--c6", "--c7", "--c8"];
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];

/** The colour of the n-th curve; after the last colour they begin again, dashed. */
export function curveColor(index) {
  return { color: css(CURVES[index % CURVES.length]), dash: DASHES[Math.floor(index / CURVES.length) % DASHES.length] };
}

/** The value that all but the outermost hundredth stay within, so that one token does not pale all others. */
export function edge(values, least) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  return sorted.length ? Math.max(least, sorted[Math.min(sorted.length - 1, Math.floor(0.99 * sorted.length))]) : least;
}

// Tokens come by the ten thousand, so a colour is a class and not a style of its own: a dozen levels of each hue.
const LEVELS = 12;
const HUES = { less: "--c1", more: "--c2", open: "--c4" };
// At 62 % the text on it keeps a contrast of more than 4.5 in both modes.
const rule = (kind, level) =>
  `.${kind}${level} { background-color: color-mix(in srgb, var(${HUES[kind]}) ${Math.round((62 * level) / LEVELS)}%, transparent); }`;
const sheet = new CSSStyleSheet();
sheet.replaceSync(
  Object.keys(HUES)
    .flatMap((kind) => Array.from({ length: LEVELS }, (_, at) => rule(kind, at + 1)))
    .join("\n"),
);
document.adoptedStyleSheets.push(sheet);

function level(kind, part) {
  const at = Math.min(LEVELS, Math.round(LEVELS * part));
  return at > 0 ? `${kind}${at}` : "";
}

/**
 * The class of a token by its importance ratio: clear at 1, blue below, orange above, as far as `most` (of |ln|).
 * @param {number|null|undefined} ratio  @param {number} most
 */
export function ratioClass(ratio, most) {
  if (ratio === null || ratio === undefined || !(ratio > 0)) return "";
  return level(ratio < 1 ? "less" : "more", Math.abs(Math.log(ratio)) / most);
}

/** The class of a token by its entropy: clear at 0, full at `most` nats. */
export function entropyClass(entropy, most) {
  return entropy === null || entropy === undefined ? "" : level("open", entropy / most);
}
