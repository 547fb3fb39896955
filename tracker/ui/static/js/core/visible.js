/**
 * Whether anybody can see the page. What a hidden page would ask the server for waits until it is shown.
 */

/**
 * Call `fn`: at once if the page is visible, else when it becomes so.
 * @param {() => void} fn
 */
export function whenVisible(fn) {
  if (!document.hidden) {
    fn();
    return;
  }
  const shown = () => {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", shown);
    fn();
  };
  document.addEventListener("visibilitychange", shown);
}
