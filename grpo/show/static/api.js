/**
 * The server's JSON, as types and as one function that asks for it.
 *
 * @typedef {{id: string, path: string, command: string, model: string, data: string, seed: number, step: number,
 *   steps: number|null, state: "running"|"finished"|"stopped"|"empty", updated: number|string|null,
 *   experiment: string}} Run  `experiment` is the same for runs that differ in their seed only
 * @typedef {{value: number, low: number|null, high: number|null, step?: number}} Point
 * @typedef {{before: Point, after: Point, change: number, label?: string}} Headline
 * @typedef {{step: number, problem: string, index: number}} Example
 * @typedef {{name: string, step: number, text: string, numbers: Object<string, number>, examples: Example[],
 *   cleared: boolean}} Alarm
 * @typedef {Run & {headline: Headline|null, tiles: {value: string, name: string}[], notes: string[], alarms: Alarm[],
 *   cost: Object<string, number|string>|null, phases: Object<string, number>, config: string}} Overview
 *
 * @typedef {{run?: string, experiment?: string, label: string, n: number, x: number[], y: (number|null)[],
 *   raw: (number|null)[]|null, low: (number|null)[]|null, high: (number|null)[]|null}} Series
 * @typedef {{run: string, x: number, y: number, low: number|null, high: number|null}} Dot  an evaluation
 * @typedef {{metric: string, axis: "step"|"tokens"|"time", series: Series[], dots: Dot[]}} Curves
 *
 * @typedef {{step: number, problem: string, index: number, reward: number|null, advantage: number, finish: string,
 *   tokens: number, failure: string|null, snippet: string, shown: boolean}} Rollout  `shown`: its tokens are kept
 * @typedef {{total: number|null, rows: Rollout[], more: boolean, back_to: number|null,
 *   unreadable: number[]}} Rollouts  `back_to`: the oldest step that a search for a text has come to, where it stopped
 *   early; `unreadable`: steps whose file is damaged
 * @typedef {{reward: string, value: number|null, answer: string|null, why: string|null, failure: string|null}} Score
 * @typedef {{index: number, text: string, reward: number|null, advantage: number, finish: string, tokens: number,
 *   dropped: boolean, scores: Score[], pieces: string[]|null, ratios: (number|null)[]|null,
 *   entropies: (number|null)[]|null}} Completion
 * @typedef {{step: number, problem: string, prompt: string, gold: string|null, completions: Completion[]}} Group
 * @typedef {{step: number, n: number, solved: number|null, reward_mean: number|null, length_mean: number,
 *   truncated: number}} ProblemStep
 * @typedef {{problem: string, prompt: string, gold: string|null, steps: ProblemStep[]}} Problem
 *
 * @typedef {{mean: number, low: number|null, high: number|null, n?: number}} Interval
 * @typedef {{label: string, step: number, problems: number, measures: Object<string, Interval>,
 *   columns: Object<string, Object<string, Interval>>}} Evaluation
 * @typedef {{problem: string, prompt: string, gold: string|null, a: {completion: string, value: number|null}[],
 *   b: {completion: string, value: number|null}[]}} Change
 * @typedef {{won: Change[], lost: Change[], won_count: number, lost_count: number, same_right: number,
 *   same_wrong: number, p: number|null}} WonLost  `won` and `lost` are the first of as many as are counted
 */

/** What the server said no to, in its sentence. */
export class Refused extends Error {}

/**
 * GET /api/`path`, with those of `query` that are set.
 * @param {string} path
 * @param {Object<string, string|number|boolean|null|undefined>} [query]
 */
export async function get(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) search.set(name, String(value));
  }
  let answer;
  try {
    answer = await fetch(`api/${path}${search.size ? `?${search}` : ""}`, { headers: { accept: "application/json" } });
  } catch {
    throw new Refused("The server does not answer: is `grpo show` still running?");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  throw new Refused(sentence(body?.error) ?? `The server answered ${answer.status} to ${path}.`);
}

/** "there is no run" → "There is no run." */
function sentence(text) {
  const begun = text?.replace(/^[a-z]+ /, (word) => word[0].toUpperCase() + word.slice(1));
  return begun && !/[.!?]$/.test(begun) ? `${begun}.` : begun;
}

/** @param {string} run  @param {string} [rest] */
export const ofRun = (run, rest = "") => `runs/${encodeURIComponent(run)}${rest ? `/${rest}` : ""}`;
