/** The frame of all pages: the address chooses one, the top bar says where it is, and a run that goes on refreshes it. */

import { get } from "./api.js";
import { h, say } from "./dom.js";
import { listen } from "./keys.js";
import { watch } from "./live.js";
import { here, toRollouts, toRun, address } from "./place.js";
import * as curves from "./pages/curves.js";
import * as evaluations from "./pages/evaluations.js";
import * as group from "./pages/group.js";
import * as overview from "./pages/overview.js";
import * as problem from "./pages/problem.js";
import * as rollouts from "./pages/rollouts.js";
import * as runs from "./pages/runs.js";

/**
 * What a page gives: its body, the runs that it shows, and what to do when they have gone on.  `shown` is called once
 * it is in the document, `draw` then and whenever the colours change.
 * @typedef {{title: string, body: Node, live?: string[], refresh?: () => Promise<void>, shown?: () => void,
 *   draw?: () => void, leave?: () => void, keys?: Object<string, () => void>, up?: string, wide?: boolean}} Page
 */

const OF_RUN = { overview, rollouts, group, problem, evaluations };
const main = /** @type {HTMLElement} */ (document.getElementById("main"));

/** @type {Page|null} */
let page = null;
let turn = 0;

/** The page that an address names. */
function chosen(path, all) {
  if (path.length === 0) return all.length === 1 ? { name: "overview", run: all[0].id } : { name: "runs" };
  if (path[0] === "curves") return { name: "curves" };
  const name = path[2] ?? "overview";
  return path[0] === "run" && path[1] && name in OF_RUN ? { name, run: path[1] } : { name: "" };
}

async function go() {
  const mine = ++turn;
  const { path, query } = here();
  const slow = setTimeout(() => main.setAttribute("aria-busy", "true"), 150);
  let next;
  let where = { name: "" };
  try {
    const all = await get("runs");
    where = chosen(path, all);
    next = await open(where, query, all);
  } catch (error) {
    next = { title: "Not shown", body: say(error.message, "bad") };
    if (error.name !== "Error") console.error(error); // our own mistake, not the server's no
  } finally {
    clearTimeout(slow);
  }
  if (mine !== turn) return void next.leave?.(); // the reader has gone on meanwhile
  page?.leave?.();
  page = next;
  main.removeAttribute("aria-busy");
  main.classList.toggle("wide", Boolean(page.wide));
  document.title = `${page.title} – grpo show`;
  main.replaceChildren(...(where.run ? [tabs(where.name, where.run)] : []), page.body);
  mark(where);
  page.draw?.();
  page.shown?.();
  watch(page);
}

/** @returns {Promise<Page>} */
async function open({ name, run }, query, all) {
  if (name === "runs") return runs.open(all);
  if (name === "curves") return curves.open(all, query);
  if (name in OF_RUN) return OF_RUN[name].open(run, query, all);
  return {
    title: "No such page",
    body: say("There is no page at this address; “Runs” above has all there are.", "bad"),
  };
}

function tabs(name, run) {
  const tab = (label, href, names) => h("a", { href, "aria-current": names.includes(name) && "page" }, label);
  return h(
    "div",
    { class: "run-head" },
    h("p", { class: "run-name" }, h("a", { href: toRun(run) }, run)),
    h(
      "nav",
      { class: "tabs", "aria-label": "This run" },
      tab("Overview", toRun(run), ["overview"]),
      tab("Rollouts", toRollouts(run), ["rollouts", "group", "problem"]),
      tab("Evaluations", address(["run", run, "evaluations"]), ["evaluations"]),
      tab("Curves", address(["curves"], { runs: run }), []),
    ),
  );
}

function mark({ name }) {
  for (const link of document.querySelectorAll("[data-nav]")) {
    const current = link.getAttribute("data-nav") === name;
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

window.addEventListener("hashchange", async () => {
  await go();
  window.scrollTo(0, 0);
  if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
});
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page?.draw?.());
// The token has become a cookie: it need not stay where it is copied and seen.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);
listen(() => page);
go();
