/**
 * The theme in use: what the view asks for, or what the system prefers. Sets `data-theme` on the root element.
 */
import { computed, signal } from "./signal.js";
import { change, view } from "./state.js";

const query = matchMedia("(prefers-color-scheme: dark)");
const system = signal(query.matches ? "dark" : "light");

/** "light" or "dark". */
export const theme = computed(() => (view.value.theme === "auto" ? system.value : view.value.theme), [view, system]);

/** Follow the system and the view. */
export function startTheme() {
  query.addEventListener("change", () => (system.value = query.matches ? "dark" : "light"));
  const show = () => (document.documentElement.dataset.theme = theme.value);
  theme.subscribe(show);
  show();
}

/** Auto, light, dark, auto … */
export function nextTheme() {
  const order = ["auto", "light", "dark"];
  change({ theme: order[(order.indexOf(view.value.theme) + 1) % 3] });
}
