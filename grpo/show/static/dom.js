/**
 * Elements from data.  Whatever a model or a data set wrote comes in as a text node and never as HTML: this file, and
 * no other, makes nodes, and it has no way to parse any.
 */

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "onkeydown", "ontoggle"];

/**
 * An element.  Attributes that are null or false are left out; `style` is an object; `on…` is a handler.
 * @param {string} tag  @param {Object<string, any>} [attributes]  @param {...any} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else if (name === "style") for (const [key, one] of Object.entries(value)) node.style.setProperty(key, one);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// C0 and C1 controls would be invisible or act on the page; marks of direction would turn around what is read.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Text in which everything can be seen: a bell → ⟨U+0007⟩, right-to-left override → ⟨U+202E⟩. */
export function visible(text) {
  const name = (character) => character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  return String(text).replace(CONTROLS, (character) => `⟨U+${name(character)}⟩`);
}

/** What a model wrote, with the tags of its reasoning in another colour. */
export function written(text) {
  return visible(text)
    .split(/(<\/?(?:think|answer)>)/)
    .map((part, index) => (index % 2 ? h("span", { class: "tag" }, part) : part));
}

/**
 * Makes `old` look like `fresh` and keeps every node that may stay, so that focus, selection, scroll and what the
 * reader has opened outlive a refresh.  A node with `data-keep` looks after itself.
 * @param {any} old  @param {any} fresh
 */
export function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.dataset?.key !== fresh.dataset?.key) return void old.replaceWith(fresh);
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if ("keep" in old.dataset && "keep" in fresh.dataset) return;
  for (const { name } of [...old.attributes]) {
    if (name !== "style" && name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "style" && name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((child, index) => (before[index] ? morph(before[index], child) : old.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

/** A sentence where there is nothing to show. */
export const say = (sentence, kind = "") =>
  h("p", { class: `say ${kind}`, role: kind === "bad" ? "alert" : "status" }, sentence);

/**
 * A table: `columns` are headings or [heading, class]; the first cell of each row is its heading.
 * @param {string} caption  @param {(string|any)[]} columns  @param {any[][]} rows
 */
export function table(caption, columns, rows, attributes = {}) {
  const heads = columns.map((column) => h("th", { scope: "col" }, column));
  const cells = (row) => row.map((cell, index) => (index ? h("td", {}, cell) : h("th", { scope: "row" }, cell)));
  return h(
    "div",
    { class: "scroll card", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      attributes,
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads)),
      h(
        "tbody",
        {},
        rows.map((row) => h("tr", {}, cells(row))),
      ),
    ),
  );
}
