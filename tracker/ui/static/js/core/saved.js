/**
 * A page saved as one file: its data stands in an element `#saved`, and answers requests as the server did.
 *
 * The data: `{answers: {"runs": …, "runs/REF": …}, posts: {"keys": …}, series: [{x, log_x, writers, body}], address, time}`,
 * where `body` is the base64 of an answer to `POST series`, and `address` the view that was saved.
 */
import { decodeSeries } from "./decode.js";

/** @typedef {import("./decode.js").SeriesAnswer} SeriesAnswer */

/**
 * @typedef {object} Saved
 * @property {(path: string, params: Record<string, any>) => any} get
 * @property {(path: string, body: any) => any} post
 * @property {(request: any) => SeriesAnswer} series
 */

/** @returns {Saved | null} null where the page comes from a server */
export function loadSaved() {
  const element = document.getElementById("saved");
  if (!element) return null;
  const data = JSON.parse(element.textContent ?? "{}");
  if (!location.hash && data.address) history.replaceState(null, "", data.address);
  /** @type {Map<any, SeriesAnswer>} */
  const decoded = new Map();
  return {
    get(path, params) {
      if (path === "changes") return null;
      if (path === "runs" && params.query) throw new Error("A saved file has no query line; filter by the columns.");
      const name = params.key === undefined ? path : `${path}?key=${params.key}`;
      if (name in data.answers) return data.answers[name];
      throw new Error("The saved file does not contain this.");
    },
    post(path) {
      if (data.posts && path in data.posts) return data.posts[path];
      throw new Error("A saved file is read-only.");
    },
    series(request) {
      const packs = /** @type {any[]} */ (data.series ?? []).filter((one) => one.x === request.x && one.writers === request.writers);
      if (!packs.length) throw new Error(`Saved over ${data.series?.[0]?.x ?? "no axis"} only.`);
      const all = packs.flatMap((pack) => {
        let answer = decoded.get(pack);
        if (!answer) {
          answer = decodeSeries(Uint8Array.from(atob(pack.body), (character) => character.charCodeAt(0)).buffer);
          decoded.set(pack, answer);
        }
        return answer.series;
      });
      const series = request.panels.flatMap((/** @type {any} */ wanted, /** @type {number} */ panel) =>
        all.filter((one) => one.key === wanted.key && wanted.runs.includes(one.run)).map((one) => ({ ...one, panel })));
      return { series, errors: [], cursor: "" };
    },
  };
}
