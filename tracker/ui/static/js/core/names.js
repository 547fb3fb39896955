/** Lists of names in the parameters of requests. */

/**
 * Names as one parameter: joined by commas, those of the names as `%2C`.
 * @param {string[]} names
 * @returns {string}
 */
export function joined(names) {
  return names.map((name) => name.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",");
}
