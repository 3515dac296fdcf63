/** The filters over the list of completions. */

import { h } from "../dom.js";

const FINISHES = [
  ["", "any"],
  ["stop", "ended by itself"],
  ["length", "ran out of room"],
];
const FAILURES = [
  ["", "any or none"],
  ["any", "any failure"],
  ["timeout", "timeout"],
  ["crash", "crash"],
  ["fault", "fault"],
];
const ORDERS = [
  ["-step", "newest first"],
  ["step", "oldest first"],
  ["-reward", "best first"],
  ["reward", "worst first"],
  ["-tokens", "longest first"],
  ["tokens", "shortest first"],
];
/**
 * @param {Object<string, string>} filter  as the address has it
 * @param {{change: (form: HTMLFormElement) => void, sort: (order: string) => void}} act
 */
export function filterForm(filter, act) {
  const field = (label, name, attributes = {}) =>
    h("label", {}, label, h("input", { name, value: filter[name], autocomplete: "off", ...attributes }));
  const range = (title, name, attributes) => {
    const number = { type: "number", step: "any", ...attributes };
    return h(
      "fieldset",
      {},
      h("legend", {}, title),
      field("from", `${name}_min`, number),
      field("to", `${name}_max`, number),
    );
  };
  const choice = (label, name, options) => h("label", {}, label, select(options, filter[name], { name }));
  let later = 0;
  const form = h(
    "form",
    {
      class: "card filters",
      role: "search",
      "aria-label": "Filter completions",
      oninput: () => {
        clearTimeout(later);
        later = setTimeout(() => act.change(form), 300);
      },
      onsubmit: (event) => {
        event.preventDefault();
        act.change(form);
      },
    },
    field("Text", "text", { type: "search", "data-search": true, placeholder: "in the completion" }),
    field("Problem", "problem", { type: "search", placeholder: "a part of its id" }),
    range("Steps", "step", { min: 0, step: 1 }),
    range("Reward", "reward", {}),
    choice("Finish", "finish", FINISHES),
    choice("Failure", "failure", FAILURES),
    h(
      "label",
      { class: "tick-label" },
      h("input", { type: "checkbox", name: "useful", value: "true", checked: filter.useful === "true" }),
      "groups with a signal only",
    ),
    h("label", { class: "narrow-only" }, "Order", order(filter.sort, act.sort)),
    h("button", { type: "button", onclick: () => act.change(emptied(form)) }, "Clear"),
  );
  return form;
}

function select(options, now, attributes) {
  return h(
    "select",
    attributes,
    options.map(([value, text]) => h("option", { value, selected: value === now }, text)),
  );
}

/** Where the table has no heads to sort by, on a phone.  No filter: it has no name. */
function order(now, sort) {
  return select(ORDERS, now, {
    oninput: (event) => event.stopPropagation(),
    onchange: (event) => sort(event.target.value),
  });
}

function emptied(form) {
  for (const field of form.elements) {
    if (field.type === "checkbox") field.checked = false;
    else if (field.name) field.value = "";
  }
  return form;
}
