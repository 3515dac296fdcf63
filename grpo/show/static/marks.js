/** How a completion was marked, in the same words wherever one is shown. */

import { h, visible } from "./dom.js";
import { plain } from "./words.js";

/** The reward; green where the completion did better than its group, red where worse. */
export function verdict(reward, advantage, word = "reward ") {
  if (reward === null || reward === undefined) return h("span", { class: "verdict" }, "not scored");
  return h(
    "span",
    { class: `verdict ${advantage > 0 ? "good" : advantage < 0 ? "bad" : ""}` },
    `${word}${plain(reward)}`,
  );
}

export const ended = (finish) => (finish === "length" ? "ran out of room" : "ended by itself");

/** What one reward says of it. @param {import("./api.js").Score} score */
export function reason(score) {
  const parts = [
    h("b", {}, `${visible(score.reward)} ${plain(score.value)}`),
    score.answer !== null && score.answer !== undefined && ["read as ", h("code", {}, visible(score.answer))],
    score.failure && h("span", { class: "bad" }, visible(score.failure)),
    score.why && visible(score.why),
  ].filter(Boolean);
  return h(
    "li",
    {},
    parts.map((part, index) => [index ? " · " : "", part]),
  );
}
