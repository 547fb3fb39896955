/** A chart on a canvas. */

export class Chart {
  /**
   * @param {HTMLElement} host
   * @param {object} [options]
   */
  constructor(host, options) {
    this.host = host;
    this.options = options;
  }
}
