/**
 * The list that the reader came from: the groups of the rollouts last looked at, so that j and k go through them.
 * Kept for this tab only.
 */

const KEY = "grpo-trail";

/** @param {string} run  @param {string} address  @param {{step: number, problem: string}[]} rows */
export function follow(run, address, rows) {
  const seen = new Set();
  const groups = rows
    .filter(({ step, problem }) => {
      const key = `${step} ${problem}`;
      return !seen.has(key) && seen.add(key);
    })
    .map(({ step, problem }) => ({ step, problem }));
  sessionStorage.setItem(KEY, JSON.stringify({ run, address, groups }));
}

/** The list and the place in it, or null where the group is not of the list. */
export function trail(run, step, problem) {
  const found = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  if (found?.run !== run) return null;
  const at = found.groups.findIndex((one) => one.step === step && one.problem === problem);
  return at < 0 ? null : { ...found, at };
}
