/** Starts the page. */
import { startKeys } from "./core/keys.js";
import { startPolling } from "./core/polling.js";
import { startQuery } from "./core/query.js";
import { startRuns } from "./core/runs.js";
import { startState } from "./core/state.js";
import { startTheme } from "./core/theme.js";
import { startLogin } from "./shell/login.js";
import { mountShell } from "./shell/shell.js";
import { startModel } from "./table/model.js";

startState();
startTheme();
startKeys();
startQuery();
startModel();
// Asked for before the page is built: the answer comes while it is.
const loaded = startRuns([]);
mountShell(document.body);
startLogin();
await loaded;
startPolling();
