/**
 * A drawing area in the page: a focusable element with a canvas for the picture and, only while needed, one for what lies
 * over it. Follows size, device pixel ratio and theme, redraws at most once per animation frame, and drops its canvases while
 * it is far from the screen. Does not know what is drawn.
 */
import { canvasSurface } from "./canvas.js";
import { onTheme, theme } from "./theme.js";

/** How far outside the screen canvases are kept. */
const NEAR = "600px";

export class Board {
  /**
   * @param {HTMLElement} host
   * @param {string} kind Class name of the element.
   * @param {{draw: (surface: import("./canvas.js").Surface) => void, over: ((surface: import("./canvas.js").Surface) => void) | null}} painter
   */
  constructor(host, kind, painter) {
    this.host = host;
    this.painter = painter;
    this.root = document.createElement("div");
    this.root.className = `chart ${kind}`;
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "img");
    this.width = 0;
    this.height = 0;
    this.ratio = window.devicePixelRatio || 1;
    this.near = true;
    /** @type {HTMLCanvasElement | null} */
    this.canvas = null;
    /** @type {HTMLCanvasElement | null} */
    this.cover = null;
    this.stale = { picture: true, over: false };
    this.frame = 0;
    this.mounted = false;
    this.drawTime = 0;
    /** @type {(() => void)[]} */
    this.stops = [];
    this.mount();
  }

  /** Puts the element into the page. Reverses `release`. */
  mount() {
    if (this.mounted) return;
    this.mounted = true;
    this.host.append(this.root);
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.root);
    const nearness = new IntersectionObserver((entries) => this.setNear(entries[entries.length - 1].isIntersecting), { rootMargin: NEAR });
    nearness.observe(this.root);
    const again = () => this.resize();
    window.addEventListener("resize", again);
    this.stops = [
      () => sizes.disconnect(),
      () => nearness.disconnect(),
      () => window.removeEventListener("resize", again),
      onTheme(() => this.invalidate()),
    ];
    // The observer tells the size once the page has been laid out: to ask for it here would lay it out for each of many charts.
    this.invalidate();
  }

  /** Drops canvases and observers and leaves the page. */
  release() {
    if (!this.mounted) return;
    this.mounted = false;
    for (const stop of this.stops) stop();
    this.stops = [];
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.drop();
    this.root.remove();
  }

  /** @param {boolean} near */
  setNear(near) {
    if (near === this.near) return;
    this.near = near;
    if (near) this.invalidate();
    else this.drop();
  }

  drop() {
    for (const canvas of [this.canvas, this.cover]) {
      if (!canvas) continue;
      canvas.width = canvas.height = 0;
      canvas.remove();
    }
    this.canvas = this.cover = null;
  }

  /** Takes the size of the element and the device pixel ratio, and redraws if either changed. */
  resize() {
    const width = this.root.clientWidth;
    const height = this.root.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    this.invalidate();
  }

  /** Redraws all at the next frame. */
  invalidate() {
    this.stale.picture = true;
    this.schedule();
  }

  /** Redraws what lies over the picture at the next frame. */
  invalidateOver() {
    this.stale.over = true;
    this.schedule();
  }

  schedule() {
    if (!this.frame && this.mounted && this.near) this.frame = requestAnimationFrame(() => this.paint());
  }

  /** Draws what is stale now. */
  paint() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.mounted || !this.near) return;
    if (!this.width) this.resize();
    if (this.width < 2 || this.height < 2) return;
    if (this.stale.picture) {
      const begin = performance.now();
      this.canvas = this.fit(this.canvas);
      this.painter.draw(this.clear(this.canvas));
      this.stale.picture = false;
      this.stale.over = true;
      this.drawTime = performance.now() - begin;
    }
    if (this.stale.over) {
      this.stale.over = false;
      if (this.painter.over) {
        const fresh = !this.cover;
        this.cover = this.fit(this.cover);
        if (fresh) this.cover.classList.add("chart-cover");
        this.painter.over(this.clear(this.cover));
      } else if (this.cover) {
        this.clear(this.cover);
      }
    }
  }

  /**
   * A canvas of the present size.
   * @param {HTMLCanvasElement | null} old
   * @returns {HTMLCanvasElement}
   */
  fit(old) {
    const canvas = old ?? document.createElement("canvas");
    const width = Math.round(this.width * this.ratio);
    const height = Math.round(this.height * this.ratio);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    canvas.style.width = `${width / this.ratio}px`;
    canvas.style.height = `${height / this.ratio}px`;
    canvas.setAttribute("aria-hidden", "true");
    if (!old) this.root.append(canvas);
    return canvas;
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @returns {import("./canvas.js").Surface}
   */
  clear(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    return canvasSurface(context, this.ratio, theme().font);
  }
}
