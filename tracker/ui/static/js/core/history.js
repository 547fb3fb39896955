/**
 * Undo and redo as a list of steps, each with an action to undo and one to redo. Does not know what the steps do.
 */

/**
 * @typedef {object} Step
 * @property {string} label what was done, as "sort by loss"
 * @property {() => void | Promise<void>} undo
 * @property {() => void | Promise<void>} redo
 * @property {string} [merge] steps that follow each other quickly and have the same `merge` become one
 */

/** Maximum time between steps that are merged, in milliseconds. */
const MERGE_WITHIN = 1000;
/** Maximum number of steps. */
const LIMIT = 200;

export class History {
  /** @type {Step[]} */
  #done = [];
  /** @type {Step[]} */
  #undone = [];
  #last = -Infinity;

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /**
   * @param {Step} step
   * @param {number} [now] in milliseconds
   */
  push(step, now = Date.now()) {
    const before = this.#done.at(-1);
    if (before && step.merge && before.merge === step.merge && now - this.#last < MERGE_WITHIN) {
      this.#done[this.#done.length - 1] = { ...step, undo: before.undo };
    } else {
      this.#done.push(step);
      if (this.#done.length > LIMIT) this.#done.shift();
    }
    this.#undone = [];
    this.#last = now;
  }

  /** @returns {Step | null} the step that was undone */
  undo() {
    const step = this.#done.pop();
    if (!step) return null;
    this.#undone.push(step);
    this.#last = -Infinity;
    step.undo();
    return step;
  }

  /** @returns {Step | null} the step that was done again */
  redo() {
    const step = this.#undone.pop();
    if (!step) return null;
    this.#done.push(step);
    this.#last = -Infinity;
    step.redo();
    return step;
  }

  /**
   * Forget one step: it was undone otherwise (by the button of its toast), or failed.
   * @param {Step} step
   */
  remove(step) {
    this.#done = this.#done.filter((one) => one !== step);
    this.#undone = this.#undone.filter((one) => one !== step);
  }
}
