/** Numbers as a person writes them; the same as the console's and the report's (grpo/run/wording.py). */

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 0.4127 → "41.3%". */
export const percent = (value) => (known(value) ? `${(100 * value).toFixed(1)}%` : "–");
export const wholePercent = (value) => (known(value) ? `${Math.round(100 * value)}%` : "–");

/** 84 → "84", 12345 → "12.3k", 4300000 → "4.3M". */
export function count(value) {
  if (!known(value)) return "–";
  if (value < 9999.5) return value.toFixed(0);
  if (value < 999_950) return `${(value / 1e3).toFixed(1)}k`;
  return value < 999_950_000 ? `${(value / 1e6).toFixed(1)}M` : `${(value / 1e9).toFixed(1)}G`;
}

/** Three digits that matter: 0.12345 → "0.123", 0.0000031 → "3.1e-6". */
export function plain(value) {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e5) return size < 1000 ? String(Number(value.toPrecision(3))) : value.toFixed(0);
  return value.toExponential(1).replace(".0e", "e").replace("e+", "e");
}

/** With its sign, where the sign is what is looked for. */
export const signed = (value, digits = 2) =>
  known(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}` : "–";

/** Seconds: "45 s", "38 min", "2 h 05 min". */
export function duration(value) {
  if (!known(value)) return "–";
  if (value < 90) return `${value < 9.95 ? plain(value) : value.toFixed(0)} s`;
  const minutes = Math.round(value / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** 1, "step" → "1 step"; 1234, "step" → "1,234 steps". */
export const plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** "just now", "5 min ago", or the day. */
export function ago(when) {
  const time = typeof when === "number" ? when * 1000 : Date.parse(when);
  if (!known(time)) return "–";
  const seconds = (Date.now() - time) / 1000;
  if (seconds < 60) return "just now";
  return seconds < 86_400
    ? `${duration(Math.max(seconds, 90))} ago`
    : new Date(time).toISOString().slice(0, 16).replace("T", " ");
}

/** "41.3% (38.0 – 44.7)". */
export function interval(one, format = percent) {
  const ends = one.low !== null && one.low !== undefined && one.high > one.low;
  return ends
    ? `${format(one.mean)} (${format(one.low).replace("%", "")} – ${format(one.high).replace("%", "")})`
    : format(one.mean);
}

// Metrics that are shares of a whole.
const SHARES =
  /^(solved|groups\/(useful|dropped)|completions\/(truncated|unparseable|unscored|repetition|language)|thinking\/empty|policy\/clipped|eval\/.*)$/;

/** How a metric's values are written. */
export function formatOf(metric) {
  if (SHARES.test(metric)) return percent;
  return /^(tokens\/|speed\/|completions\/length)/.test(metric) ? count : plain;
}
export const isShare = (metric) => SHARES.test(metric);

/** What to look at first, in the order of looking, with names for people. */
export const USUAL = new Map([
  ["solved", "Solved"],
  ["sft/loss", "Loss, nats per token"],
  ["reward/mean", "Reward"],
  ["groups/useful", "Useful groups"],
  ["completions/length_mean", "Length, tokens"],
  ["completions/truncated", "Truncated"],
  ["policy/entropy", "Entropy, nats per token"],
  ["policy/sampler_gap", "Gap of sampler to policy, nats"],
  ["completions/unparseable", "No answer found"],
  ["completions/repetition", "Repetition"],
  ["policy/grad_norm", "Gradient norm"],
  ["policy/clipped", "Clipped tokens"],
  ["time/step", "Seconds per step"],
]);
