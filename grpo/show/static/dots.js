/** Evaluations in a chart: a dot with its 95 % interval, over the curves. */

/**
 * Runs are evaluated at the same steps: dots at one place are drawn beside each other, so that none hides another.
 * @param {import("./api.js").Dot[]} dots  @param {(run: string) => string} paint  @param {string} rim
 */
export function drawDots(u, dots, paint, rim) {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio || 1;
  const met = new Map();
  for (const dot of dots) met.set(dot.x, (met.get(dot.x) ?? 0) + 1);
  const drawn = new Map();
  ctx.save();
  ctx.setLineDash([]);
  for (const dot of dots) {
    const place = drawn.get(dot.x) ?? 0;
    drawn.set(dot.x, place + 1);
    const x = u.valToPos(dot.x, "x", true) + (place - (met.get(dot.x) - 1) / 2) * 6 * ratio;
    if (x < bbox.left - 20 * ratio || x > bbox.left + bbox.width + 20 * ratio) continue;
    drawDot(ctx, x, (value) => u.valToPos(value, "y", true), dot, paint(dot.run), rim, ratio);
  }
  ctx.restore();
}

function drawDot(ctx, x, at, dot, color, rim, ratio) {
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = 2 * ratio;
  if (dot.low !== null && dot.high !== null) {
    ctx.beginPath();
    ctx.moveTo(x, at(dot.low));
    ctx.lineTo(x, at(dot.high));
    ctx.stroke();
  }
  ctx.beginPath();
  ctx.arc(x, at(dot.y), 4.5 * ratio, 0, 2 * Math.PI);
  ctx.fill();
  ctx.strokeStyle = rim;
  ctx.stroke();
}

/** The evaluation nearest to x, or the last one. @param {import("./api.js").Dot[]} dots  @param {number|null} x */
export function nearest(dots, x) {
  if (x === null) return dots.reduce((last, dot) => (last && last.x > dot.x ? last : dot), undefined);
  return dots.reduce((best, dot) => (!best || Math.abs(dot.x - x) < Math.abs(best.x - x) ? dot : best), null);
}
