/* What is wrong with the focus that a page shows, or an empty text. Evaluated in the page by tests. */
() => {
    const one = document.activeElement;
    if (!one || one === document.body) return "nothing";
    const box = one.getBoundingClientRect();
    const words = one.getAttribute("aria-label") ?? one.textContent.slice(0, 30);
    const name = `${one.tagName.toLowerCase()}.${one.className} ${words}`;
    const style = getComputedStyle(one);
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1 || style.boxShadow !== "none" || style.backgroundImage !== "none";
    const inside = one.matches(":focus-visible") && ring;
    const around = [...function* () { for (let up = one.parentElement, n = 0; up && n < 3; up = up.parentElement, n += 1) yield up; }()]
        .some(up => up.matches(":focus-within") && getComputedStyle(up).outlineStyle !== "none");
    if (!inside && !around) return `no ring: ${name}`;
    if (box.width < 1 || box.height < 1) return `no size: ${name}`;
    if (box.right < 0 || box.bottom < 0 || box.left > innerWidth || box.top > innerHeight) return `not on the screen: ${name}`;
    if (Number(style.opacity) === 0) return `transparent: ${name}`;
    return "";
};
