/** Keeps a page of a run that goes on up to date: it asks while the run is running and the reader looks, and only then. */

import { get } from "./api.js";

const PERIOD = 2000; // ms

const light = /** @type {HTMLElement} */ (document.getElementById("live"));
let timer = 0;
let current = null;
let seen = "";

const state = (runs) => JSON.stringify(runs.map((run) => [run.id, run.state, run.step, run.updated]));

/** Follow the runs of this page from now on, and no other page's. @param {import("./app.js").Page} page */
export function watch(page) {
  clearTimeout(timer);
  current = page;
  seen = "";
  ask();
}

async function ask() {
  clearTimeout(timer);
  const page = current;
  if (!page?.live || document.hidden) return;
  try {
    const runs = (await get("runs")).filter((run) => page.live.includes(run.id));
    if (page !== current) return;
    const fresh = state(runs);
    if (seen && fresh !== seen) await page.refresh?.();
    seen = fresh;
    const running = runs.filter((run) => run.state === "running");
    show(running);
    if (running.length) timer = setTimeout(ask, PERIOD);
  } catch (error) {
    if (page !== current) return;
    show(null, error.message);
    timer = setTimeout(ask, PERIOD);
  }
}

/** The dot in the top bar: pulsing while a run goes on. */
function show(running, trouble = "") {
  const text =
    trouble ||
    (running.length === 1 ? `live, step ${running[0].step}` : running.length ? `${running.length} runs live` : "");
  if (light.textContent !== text) light.textContent = text;
  light.dataset.state = trouble ? "lost" : running.length ? "on" : "";
}

document.addEventListener("visibilitychange", () => document.hidden || ask());
