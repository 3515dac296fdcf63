/**
 * Where the reader is: `#/run/ID/rollouts?step_min=3`.  Everything that a view depends on is in the address, so that
 * a link shows another person the same.
 */

/** @returns {{path: string[], query: URLSearchParams}} */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

/**
 * @param {string[]} path  @param {Object<string, any>} [query]  what is empty is left out
 * @returns {string}
 */
export function address(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "" && value !== false) search.set(name, String(value));
  }
  const readable = String(search)
    .replaceAll("%2F", "/")
    .replaceAll("%2C", ",")
    .replaceAll("%40", "@")
    .replaceAll("%7E", "~");
  return `#/${path.map(encodeURIComponent).join("/")}${readable && `?${readable}`}`;
}

/** Changes the address under a page that has already changed; `push` leaves a way back. */
export function keep(path, query, push = true) {
  const next = address(path, query);
  if (next !== location.hash) history[push ? "pushState" : "replaceState"](null, "", next);
}

export const toRun = (run) => address(["run", run]);
export const toRollouts = (run, query = {}) => address(["run", run, "rollouts"], query);
/** @param {string} run  @param {{step: number, problem: string, index?: number}} where */
export const toGroup = (run, { step, problem, index }) => address(["run", run, "group"], { step, problem, c: index });
export const toProblem = (run, problem) => address(["run", run, "problem"], { problem });
