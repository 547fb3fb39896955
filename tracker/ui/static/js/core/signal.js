/**
 * Signals: values that tell their listeners when they change. Knows nothing of the page or of the server.
 */

/**
 * A value with listeners. Setting it to the same value (`Object.is`) notifies no listener.
 * @template T
 */
export class Signal {
  /** @type {T} */
  #value;
  /** @type {Set<(value: T) => void>} */
  #listeners = new Set();

  /** @param {T} value */
  constructor(value) {
    this.#value = value;
  }

  get value() {
    return this.#value;
  }

  set value(value) {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const listener of [...this.#listeners]) {
      try {
        listener(value);
      } catch (error) {
        report(error);
      }
    }
  }

  /** The value, like `value`; says that the caller does not listen. */
  peek() {
    return this.#value;
  }

  /**
   * Call `listener` at each change from now on.
   * @param {(value: T) => void} listener
   * @returns {() => void} ends the subscription
   */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/**
 * An error in one listener must not keep the others from being called: it is thrown separately.
 * @param {unknown} error
 */
function report(error) {
  setTimeout(() => {
    throw error;
  });
}

/**
 * @template T
 * @param {T} value
 * @returns {Signal<T>}
 */
export function signal(value) {
  return new Signal(value);
}

/**
 * A signal whose value is computed from others, again whenever one of them changes.
 * @template T
 * @param {() => T} compute
 * @param {Signal<any>[]} dependencies
 * @returns {Signal<T>}
 */
export function computed(compute, dependencies) {
  const result = new Signal(compute());
  for (const dependency of dependencies) dependency.subscribe(() => (result.value = compute()));
  return result;
}

/**
 * Run `action` now and whenever one of `dependencies` changes.
 * @param {() => void} action
 * @param {Signal<any>[]} dependencies
 * @returns {() => void} ends it
 */
export function effect(action, dependencies) {
  const ends = dependencies.map((dependency) => dependency.subscribe(() => action()));
  action();
  return () => ends.forEach((end) => end());
}
