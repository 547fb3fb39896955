/**
 * Pointer, wheel, touch and key input on a chart, turned into events: hover, click, selection, pan, zoom, reset. Does not know
 * scales or data.
 *
 * @typedef {object} Events Coordinates are CSS pixels in the element.
 * @property {(x: number, y: number) => void} hover
 * @property {() => void} leave
 * @property {(x: number, y: number) => void} click
 * @property {(x: number | null, y: number | null) => void} menu A right click or a long press; nulls: the key for it.
 * @property {(from: [number, number], to: [number, number], vertical: boolean, done: boolean) => void} select
 * @property {() => void} cancel The selection was abandoned.
 * @property {(dx: number, dy: number, done: boolean) => void} pan Since the last call.
 * @property {(factor: number, x: number, done: boolean) => void} zoom factor < 1 zooms in; x stays.
 * @property {() => void} reset
 * @property {(direction: number) => void} step Moves the cursor by points.
 */

/** Pixels a pointer may move in a click. */
const SLOP = 4;
/** Maximum time between the clicks of a double click, in milliseconds. */
const DOUBLE = 220;
/** Time after the release of the right button in which a browser still asks for its menu, in milliseconds. */
const RIGHT_DONE = 100;
/** Time after the last turn of the wheel at which a zoom is done, in milliseconds. */
const WHEEL_DONE = 160;

/**
 * @param {HTMLElement} element
 * @param {Events} events
 * @returns {() => void} Stops listening.
 */
export function listen(element, events) {
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  /** @type {"none" | "select" | "pan" | "pinch" | "touch"} */
  let mode = "none";
  /** @type {[number, number]} */
  let start = [0, 0];
  let vertical = false;
  let moved = false;
  let pressedRight = false;
  let menuTimer = 0;
  let wheelTimer = 0;
  let clickTimer = 0;
  const stop = new AbortController();
  const options = { signal: stop.signal };

  /** @param {PointerEvent | WheelEvent | MouseEvent} event @returns {[number, number]} */
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  element.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event);
    pointers.set(event.pointerId, { x, y });
    start = [x, y];
    moved = false;
    if (event.pointerType === "touch") {
      mode = pointers.size > 1 ? "pinch" : "touch";
      return;
    }
    if (event.button === 0) {
      mode = "select";
      vertical = event.shiftKey;
    } else if (event.button === 2 || event.button === 1) mode = "pan";
    else return;
    pressedRight = event.button === 2;
    element.setPointerCapture(event.pointerId);
    if (event.button === 1) event.preventDefault();
  }, options);

  element.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = pointers.get(event.pointerId);
    if (mode === "pinch" && before) {
      pinch(event.pointerId, before, { x, y });
      return;
    }
    if (mode === "touch" || mode === "none") {
      events.hover(x, y);
      return;
    }
    if (!moved && Math.hypot(x - start[0], y - start[1]) < SLOP) return;
    moved = true;
    if (mode === "select") events.select(start, [x, y], vertical, false);
    else if (mode === "pan" && before) {
      events.pan(x - before.x, y - before.y, false);
    }
    pointers.set(event.pointerId, { x, y });
  }, options);

  element.addEventListener("pointerup", (event) => {
    const [x, y] = place(event);
    const was = mode;
    pointers.delete(event.pointerId);
    mode = pointers.size ? mode : "none";
    if (was === "select") {
      if (moved) events.select(start, [x, y], vertical, true);
      else {
        window.clearTimeout(clickTimer);
        clickTimer = window.setTimeout(() => events.click(x, y), DOUBLE);
      }
    } else if (was === "pan") {
      if (moved) events.pan(0, 0, true);
      else if (event.button === 2) events.menu(x, y);
      menuTimer = window.setTimeout(() => (pressedRight = false), RIGHT_DONE);
    }
    else if (was === "pinch") events.pan(0, 0, true);
    else if (was === "touch") events.hover(x, y);
  }, options);

  element.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    if (mode === "select") events.cancel();
    mode = pointers.size ? mode : "none";
  }, options);

  element.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch" && mode === "none") events.leave();
  }, options);
  document.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && !element.contains(/** @type {Node} */ (event.target))) events.leave();
  }, options);

  // Browsers ask for the menu when the button goes down or when it goes up; a drag pans, so it opens when the button goes up.
  element.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    if (pressedRight) return;
    if (/** @type {PointerEvent} */ (event).pointerType) events.menu(...place(event));
    else events.menu(null, null);
  }, options);
  element.addEventListener("dblclick", () => {
    window.clearTimeout(clickTimer);
    events.reset();
  }, options);

  element.addEventListener("wheel", (event) => {
    const zooms = event.ctrlKey || event.metaKey || event.altKey;
    if (!zooms && !event.shiftKey) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    const [x, y] = place(event);
    const delta = (event.deltaY || event.deltaX) * unit;
    if (zooms) events.zoom(Math.exp(Math.max(-100, Math.min(100, delta)) * 0.003), x, false);
    else events.pan(-delta, 0, false);
    window.clearTimeout(wheelTimer);
    wheelTimer = window.setTimeout(() => events.pan(0, 0, true), WHEEL_DONE);
    events.hover(x, y);
  }, { signal: stop.signal, passive: false });

  element.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const quarter = element.clientWidth / 8;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => events.pan(quarter, 0, true),
      ArrowRight: () => events.pan(-quarter, 0, true),
      "+": () => events.zoom(0.8, NaN, true),
      "=": () => events.zoom(0.8, NaN, true),
      "-": () => events.zoom(1.25, NaN, true),
      "0": () => events.reset(),
      ",": () => events.step(-1),
      ".": () => events.step(1),
    };
    if (event.key === "Escape" && mode === "select") {
      mode = "none";
      events.cancel();
    } else if (event.key in actions && event.target === element) {
      actions[event.key]();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }, options);

  element.addEventListener("blur", () => events.leave(), options);

  /**
   * @param {number} id
   * @param {{x: number, y: number}} before
   * @param {{x: number, y: number}} now
   */
  function pinch(id, before, now) {
    const other = [...pointers].find(([key]) => key !== id)?.[1];
    pointers.set(id, now);
    if (!other) return;
    const oldSpan = Math.max(20, Math.abs(before.x - other.x));
    const newSpan = Math.max(20, Math.abs(now.x - other.x));
    const middle = (now.x + other.x) / 2;
    events.pan((now.x - before.x) / 2, (now.y - before.y) / 2, false);
    if (newSpan !== oldSpan) events.zoom(oldSpan / newSpan, middle, false);
  }

  return () => {
    window.clearTimeout(wheelTimer);
    window.clearTimeout(clickTimer);
    window.clearTimeout(menuTimer);
    stop.abort();
  };
}
