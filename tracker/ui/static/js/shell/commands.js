/**
 * Keys and commands that work on every page.
 */
import { bind, showKeys } from "../core/keys.js";
import { addCommand, openPalette } from "../core/palette.js";
import { change, view } from "../core/state.js";
import { nextTheme } from "../core/theme.js";
import { copyLink, redoIt, undoIt } from "./acts.js";
import { saveView } from "./views.js";
import { saveAsFile } from "../save/save.js";

export function startCommands() {
  bind("Ctrl+k", "Find runs, metrics and commands", () => openPalette());
  bind("?", "List of keys", () => showKeys());
  bind("z", "Undo", undoIt);
  bind("Ctrl+z", "Undo", undoIt);
  bind("Z", "Redo", redoIt);
  bind("Ctrl+Z", "Redo", redoIt);
  bind("Ctrl+y", "", redoIt);
  bind("t", "Theme: system, light, dark", nextTheme);
  bind("[", "Fold or unfold the table", () => change({ fold: !view.peek().fold }), { page: "runs" });
  bind("1", "Runs", () => change({ page: "runs" }));
  bind("2", "Charts", () => change({ page: "charts" }));
  bind("3", "Compare", () => change({ page: "compare" }));
  addCommand({ label: "Go to runs", keys: "1", run: () => change({ page: "runs" }) });
  addCommand({ label: "Go to charts", keys: "2", run: () => change({ page: "charts" }) });
  addCommand({ label: "Compare the selected runs", keys: "3", run: () => change({ page: "compare" }) });
  addCommand({ label: "Copy the link to this view", run: () => void copyLink() });
  addCommand({ label: "Save this view…", run: saveView });
  addCommand({ label: "Save as one HTML file", run: () => void saveAsFile() });
  addCommand({ label: "Change the theme", keys: "t", run: nextTheme });
  addCommand({ label: "Fold or unfold the table", keys: "[", run: () => change({ fold: !view.peek().fold }) });
  addCommand({ label: "Undo", keys: "z", run: undoIt });
  addCommand({ label: "Redo", keys: "Z", run: redoIt });
  addCommand({ label: "List of keys", keys: "?", run: showKeys });
}
