/** What the keyboard does on every page, and the list of it. */

import { h } from "./dom.js";

const KEYS = [
  ["?", "this list"],
  ["/", "to the search or the first filter"],
  ["j k", "next and previous row; on a group’s page, next and previous group of the list it was opened from"],
  ["[ ]", "on a group’s page: the same problem one step earlier, later"],
  ["n p", "next and previous page of a list"],
  ["Enter", "open the row"],
  ["u", "up: from a group to its list, from a run to all runs"],
  ["← →", "in a chart: move the line; in a completion: move from token to token"],
  ["+ − 0", "in a chart: closer, wider, all of it"],
  ["Esc", "leave the field, close this list"],
];

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
dialog.append(
  h("h2", { id: "keys-title" }, "Keys"),
  h(
    "table",
    {},
    h(
      "tbody",
      {},
      KEYS.map(([key, what]) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row" },
            key.split(" ").map((one) => [h("kbd", {}, one), " "]),
          ),
          h("td", {}, what),
        ),
      ),
    ),
  ),
  h("form", { method: "dialog" }, h("button", {}, "Close")),
);
document.getElementById("help")?.addEventListener("click", () => dialog.showModal());

/** @param {() => import("./app.js").Page|null} pageNow */
export function listen(pageNow) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.matches("input:not([type=checkbox], [type=radio], [type=range]), select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const action = pageNow()?.keys?.[event.key] ?? ALWAYS[event.key];
    if (!action) return;
    event.preventDefault();
    action(pageNow());
  });
}

const ALWAYS = {
  "?": () => dialog.showModal(),
  "/": () => focus(document.querySelector("main [data-search]")),
  j: () => row(1),
  k: () => row(-1),
  u: (page) => page?.up && (location.hash = page.up),
};

function focus(field) {
  if (!field) return;
  const folded = field.closest("details");
  if (folded) folded.open = true;
  field.focus();
  field.select?.();
}

/** Focus the next or previous of the links that stand for rows. */
function row(by) {
  const rows = [...document.querySelectorAll("main [data-row]")].filter((one) => one.getClientRects().length);
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
