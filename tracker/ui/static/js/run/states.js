/**
 * The state of a run by shape and word as well as by colour.
 */
import { h } from "../core/dom.js";

/** @type {Record<string, [string, string, string]>} shape, colour, what it means */
const STATES = {
  running: ["●", "accent", "The run is being written."],
  finished: ["✓", "good", "The run ended without an error."],
  failed: ["✕", "bad", "The run ended with an error."],
  killed: ["✕", "bad", "A signal ended the run."],
  crashed: ["◌", "bad", "The process died without finishing the run."],
  preempted: ["◌", "warn", "SIGTERM ended the run, such as a scheduler sends."],
  stalled: ["‖", "warn", "The run has not logged anything for a long time."],
  unreadable: ["?", "bad", "Neither its log nor its store can be read."],
};

/**
 * @param {string} state
 * @param {{word?: boolean}} [options] `word`: with the word beside the shape, else for screen readers only
 * @returns {HTMLElement}
 */
export function stateMark(state, { word = true } = {}) {
  const [shape, tone, meaning] = STATES[state] ?? ["·", "muted", ""];
  return h("span", { class: `state-mark ${tone}`, title: meaning, data: { state } },
    h("span", { class: "state-shape", "aria-hidden": "true" }, shape), h("span", { class: word ? "" : "sr" }, state));
}

/**
 * What a state means, in a sentence.
 * @param {string} state
 * @returns {string}
 */
export function stateMeaning(state) {
  return STATES[state]?.[2] ?? "";
}
