/** The axes of a chart: steps, tokens or time below, the metric's own numbers beside. */

import { count, duration } from "./words.js";

const WHOLE = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6];
const TIMES = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800];
/** What can stand below a curve. */
export const AXES = {
  step: { title: "step", value: (x) => `step ${plainStep(x)}`, ticks: plainStep, incrs: WHOLE },
  tokens: { title: "tokens sampled", value: (x) => `${count(x)} tokens`, ticks: count },
  time: { title: "time in steps", value: duration, ticks: shortTime, incrs: TIMES },
};
const plainStepFormat = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function plainStep(x) {
  return plainStepFormat.format(x);
}

/** 90 → "90s", 5400 → "90m", 9000 → "2.5h". */
function shortTime(x) {
  if (x < 120) return `${x}s`;
  return x < 7200 ? `${Math.round(x / 60)}m` : `${Number((x / 3600).toFixed(1))}h`;
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Both axes for uPlot. @param {AXES["step"]} below  @param {(values: number[]) => string[]} beside  how values are written */
export function axesOf(below, beside) {
  const look = {
    stroke: css("--faint"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    ticks: { show: false },
    gap: 4,
  };
  const width = (values) => 14 + 6.5 * Math.max(0, ...(values ?? []).map((value) => value.length));
  return [
    {
      ...look,
      size: 26,
      grid: { show: false },
      space: 56,
      values: (_, ticks) => ticks.map(below.ticks),
      ...(below.incrs && { incrs: below.incrs }),
    },
    {
      ...look,
      grid: { stroke: css("--line"), width: 1 },
      space: 34,
      size: (_, values) => width(values),
      values: (_, ticks) => beside(ticks),
    },
  ];
}
