/**
 * The cursor that a click pins: its x, and the list of values beside it, until the next click or Escape. Does not know what a
 * line is of.
 */
import { pointAt } from "./pointing.js";
import { PinnedValues } from "./values.js";

/** @typedef {import("./picture.js").Picture} Picture */

export class Pin {
  /**
   * @param {{released: () => void, href: (run: string) => string}} owner
   */
  constructor(owner) {
    this.owner = owner;
    /** @type {number | null} */
    this.x = null;
    this.y = 0;
    /** @type {PinnedValues | null} */
    this.list = null;
  }

  /**
   * Pins the cursor at a place; not where there is nothing to read.
   * @param {HTMLElement} anchor The chart's element.
   * @param {Picture} picture
   * @param {[number, number]} pointer
   */
  set(anchor, picture, pointer) {
    const { x, list } = pointAt(picture, pointer);
    if (x === null || !list) return;
    this.x = x;
    this.y = pointer[1];
    this.list = new PinnedValues(anchor, () => this.release());
    this.show(picture);
  }

  release() {
    if (this.x === null) return;
    this.list?.close();
    this.list = null;
    this.x = null;
    this.owner.released();
  }

  /**
   * Fills the list from a picture; releases it where its place is out of view.
   * @param {Picture | null} picture
   */
  show(picture) {
    if (this.x === null || !picture) return;
    const at = picture.x.at(this.x);
    const inside = at >= picture.plot.left - 1 && at <= picture.plot.right + 1;
    const list = inside ? pointAt(picture, [at, this.y]).list : null;
    if (!list) {
      this.release();
      return;
    }
    const rows = list.rows.map((row) => ({ ...row, href: this.owner.href(row.run ?? "") }));
    this.list?.show(list.head, rows, list.foot, list.at, list.covered);
  }
}
