/*
 * What is wrong with the layout of a page, as a list of sentences: text that is cut and cannot be read in full anywhere,
 * texts that lie over one another, and a page that scrolls sideways. Evaluated in the page by tests.
 */
() => {
  const problems = [];
  const say = (what, element, text) => {
    const path = [];
    for (let one = element; one && one !== document.body && path.length < 5; one = one.parentElement) path.unshift(one.tagName.toLowerCase() + (one.className && typeof one.className === "string" ? `.${one.className.trim().replaceAll(/\s+/g, ".")}` : ""));
    problems.push(`${what}: ${JSON.stringify(text.slice(0, 60))} in ${path.join(" > ")}`);
  };

  const dialogs = [...document.querySelectorAll("dialog:modal, [popover]:popover-open")];
  const top = dialogs.at(-1);
  const box = document.documentElement;
  if (box.scrollWidth > box.clientWidth + 1) problems.push(`the page is ${box.scrollWidth} px wide and shows ${box.clientWidth}`);

  /** The part of an element that its scrolling and clipping ancestors let be seen. */
  const clip = (element) => {
    let [left, upper, right, lower] = [0, 0, innerWidth, innerHeight];
    for (let one = element; one && one !== document.documentElement; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.position === "fixed") break;
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const edge = one.getBoundingClientRect();
      if (style.overflowX !== "visible") [left, right] = [Math.max(left, edge.left), Math.min(right, edge.right)];
      if (style.overflowY !== "visible") [upper, lower] = [Math.max(upper, edge.top), Math.min(lower, edge.bottom)];
    }
    return { left, upper, right, lower };
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const titled = (element) => {
    // Titles of the table's cells are made when the pointer comes.
    element.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
    for (let one = element, up = 0; one && up < 4; one = one.parentElement, up += 1) {
      if (one.title || one.hasAttribute("aria-expanded") || one.getAttribute("aria-label") || one.querySelector?.(":scope > title")) return true;
    }
    return false;
  };
  const scrolls = (style) => ["auto", "scroll"].includes(style.overflowX);

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || !element || ["SCRIPT", "STYLE", "TITLE", "OPTION"].includes(element.tagName)) continue;
    if (top && !top.contains(element)) continue;
    if (element.closest(".sr, .toasts") || !seen(element)) continue;
    range.selectNodeContents(node);
    const limits = clip(element);
    for (const rect of range.getClientRects()) {
      if (rect.width < 1 || rect.height < 1) continue;
      const [left, upper, right, lower] = [Math.max(rect.left, limits.left), Math.max(rect.top, limits.upper), Math.min(rect.right, limits.right), Math.min(rect.bottom, limits.lower)];
      if (right - left < 2 || lower - upper < 2) continue;
      texts.push({ node, element, left, upper, right, lower, size: parseFloat(getComputedStyle(element).fontSize) });
    }
    // Cut: the nearest box that hides what does not fit. What can be scrolled to is not cut.
    for (let one = element; one && one !== document.body; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.display === "inline") continue;
      if (scrolls(style)) break;
      if (style.overflowX === "visible") continue;
      const edge = one.getBoundingClientRect();
      const whole = range.getBoundingClientRect();
      if (edge.width < 2) break;
      if ((whole.right > edge.right + 1.5 || whole.left < edge.left - 1.5) && !titled(element)) {
        say(`cut by ${Math.round(Math.max(whole.right - edge.right, edge.left - whole.left))} px without the whole on hover`, element, node.data);
        break;
      }
    }
  }

  // Buttons and fields whose text does not fit.
  for (const one of (top ?? document).querySelectorAll("button, select, .th, .td, h1, h2, h3, label, dt, dd")) {
    if (!seen(one) || one.closest(".sr, .toasts")) continue;
    const style = getComputedStyle(one);
    if (one.scrollWidth > one.clientWidth + 2 && style.overflowX !== "visible" && !scrolls(style) && style.display !== "inline" && !titled(one) && !one.querySelector("[title]")) say("does not fit its box", one, one.textContent);
    if (one.tagName === "BUTTON" && one.scrollHeight > one.clientHeight + 4 && style.overflowY !== "visible" && !titled(one)) say("is cut below", one, one.textContent);
  }

  // Overlap: boxes of two texts that share more than a hair, and of which neither lies in a layer over the other.
  const layer = (element) => {
    for (let one = element; one && one !== document.body; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (["absolute", "fixed", "sticky"].includes(style.position) && (style.zIndex !== "auto" || style.position !== "absolute") && style.backgroundColor !== "rgba(0, 0, 0, 0)") return one;
      if (one.matches("dialog, [popover], .chart-values, .toast, .menu")) return one;
    }
    return null;
  };
  for (const one of texts) one.layer = layer(one.element);
  texts.sort((a, b) => a.upper - b.upper);
  for (let i = 0; i < texts.length; i += 1) {
    const a = texts[i];
    for (let j = i + 1; j < texts.length && texts[j].upper < a.lower; j += 1) {
      const b = texts[j];
      if (a.node === b.node || a.layer !== b.layer) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.lower, b.lower) - Math.max(a.upper, b.upper);
      const least = Math.min(a.lower - a.upper, b.lower - b.upper);
      if (wide > 2 && high > 0.4 * least) say(`overlaps ${JSON.stringify(b.node.data.slice(0, 40))}`, a.element, a.node.data);
    }
  }
  return [...new Set(problems)];
};
