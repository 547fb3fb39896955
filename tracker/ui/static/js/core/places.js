/**
 * Sentences about roots and servers that cannot be read. Pure functions.
 */

/**
 * @typedef {object} Place
 * @property {string} place
 * @property {string} kind
 * @property {string | null} [error]
 */

/**
 * What is wrong with a place and what to do.
 * @param {Place} place
 * @returns {string} "" if it can be read
 */
export function placeTrouble({ place, kind, error }) {
  if (!error) return "";
  const remedy = /permission denied/i.test(error) ? "Give yourself the right to read it, for example with chmod."
    : kind === "directory" ? "Check the directory; the page goes on as soon as it can be read."
    : `Check that the ${kind === "clickhouse" ? "ClickHouse server" : "sidecar"} runs and the address is right; the page goes on as soon as it answers.`;
  return `The runs in ${place} cannot be read: ${error.replace(/[.\s]+$/, "")}. ${remedy}`;
}
