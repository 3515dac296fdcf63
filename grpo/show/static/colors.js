/** Colours of curves and tokens.  Names of colours are the report's; what they look like, style.css says. */

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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

/**
 * Background of a token by its importance ratio: clear at 1, blue below, orange above, as far as `most` (of |ln|).
 * @param {number|null} ratio  @param {number} most
 */
export function ratioColor(ratio, most) {
  if (ratio === null || ratio === undefined || !(ratio > 0)) return "";
  const part = Math.max(-1, Math.min(1, Math.log(ratio) / most));
  return mix(part < 0 ? "--c1" : "--c2", Math.abs(part));
}

/** Background of a token by its entropy: clear at 0, full at `most` nats. */
export function entropyColor(entropy, most) {
  return entropy === null || entropy === undefined ? "" : mix("--c4", Math.max(0, Math.min(1, entropy / most)));
}

// At 62 % the text on it keeps a contrast of more than 4.5 in both modes.
const mix = (name, part) => `color-mix(in srgb, var(${name}) ${Math.round(62 * part)}%, transparent)`;
