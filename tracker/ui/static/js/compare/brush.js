/**
 * Ranges on axes, as text for the address: `config.lr:0.25:0.75` lines. Pure functions.
 */

/**
 * @param {string} text
 * @returns {Record<string, [number, number]>} column to range, in shares of the axis
 */
export function brushesOf(text) {
  /** @type {Record<string, [number, number]>} */
  const brushes = {};
  for (const line of text.split("\n")) {
    const match = /^(.*):([\d.]+):([\d.]+)$/s.exec(line);
    const [low, high] = [Number(match?.[2]), Number(match?.[3])];
    if (match && low <= high && high <= 1) brushes[/** @type {string} */ (match[1])] = [low, high];
  }
  return brushes;
}

/**
 * @param {string} text
 * @param {string} id
 * @param {[number, number] | null} range
 * @returns {string}
 */
export function withBrush(text, id, range) {
  const brushes = Object.entries(brushesOf(text)).filter(([own]) => own !== id);
  if (range) brushes.push([id, range]);
  const round = (/** @type {number} */ share) => String(Math.round(Math.max(0, Math.min(1, share)) * 1000) / 1000);
  return brushes.map(([own, [low, high]]) => `${own}:${round(low)}:${round(high)}`).join("\n");
}

/**
 * @param {number | null} place of a value on the axis; null for none
 * @param {[number, number] | undefined} range
 * @returns {boolean}
 */
export function passes(place, range) {
  return !range || (place !== null && place >= range[0] && place <= range[1]);
}
