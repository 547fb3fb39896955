/**
 * The tabs of a run's page that are there from the start. Others register themselves in js/core/registry.js.
 */
import { addTab } from "../core/registry.js";
import { mountRunCharts } from "./charts.js";
import { mountConsole, mountSystem } from "./console.js";
import { mountFiles } from "./files.js";
import { mountHealth } from "./health.js";
import { mountMedia } from "./media.js";
import { mountOverview } from "./overview.js";

export function registerTabs() {
  addTab({ id: "overview", label: "Overview", order: 10, mount: mountOverview });
  addTab({ id: "charts", label: "Charts", order: 20, mount: mountRunCharts });
  addTab({ id: "system", label: "System", order: 30, mount: mountSystem });
  addTab({ id: "console", label: "Console", order: 40, mount: mountConsole });
  addTab({ id: "media", label: "Media", order: 50, mount: mountMedia });
  addTab({ id: "files", label: "Files & artifacts", order: 60, mount: mountFiles });
  addTab({ id: "health", label: "Log health", order: 70, mount: mountHealth });
}
