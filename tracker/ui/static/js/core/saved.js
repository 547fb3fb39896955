/**
 * A page saved as one file: its data stands in an element `#saved`, and answers requests as the server did.
 *
 * The data: `{answers: {"runs": …, "runs/REF": …}, posts: {"keys": …}, series: [{x, log_x, writers, body}]}`, where `body`
 * is the base64 of an answer to `POST series`.
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
  /** @type {Map<any, SeriesAnswer>} */
  const decoded = new Map();
  return {
    get(path) {
      if (path === "changes") return null;
      if (path in data.answers) return data.answers[path];
      throw new Error("This is not in the saved file.");
    },
    post(path) {
      if (data.posts && path in data.posts) return data.posts[path];
      throw new Error("This is a saved file; nothing can be changed in it.");
    },
    series(request) {
      const packs = /** @type {any[]} */ (data.series ?? []);
      const pack = packs.find((one) => one.x === request.x && one.writers === request.writers) ?? packs.find((one) => one.x === request.x);
      if (!pack) return { series: [], errors: [], cursor: "" };
      let answer = decoded.get(pack);
      if (!answer) {
        answer = decodeSeries(Uint8Array.from(atob(pack.body), (character) => character.charCodeAt(0)).buffer);
        decoded.set(pack, answer);
      }
      const all = answer.series;
      const series = request.panels.flatMap((/** @type {any} */ wanted, /** @type {number} */ panel) =>
        all.filter((one) => one.key === wanted.key && wanted.runs.includes(one.run)).map((one) => ({ ...one, panel })));
      return { series, errors: [], cursor: "" };
    },
  };
}
