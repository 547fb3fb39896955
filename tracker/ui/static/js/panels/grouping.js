/** Which of the drawn runs are one line: as the view says, or because they differ only in their seed. */
import { showGroups } from "../core/colors.js";
import { isGroup } from "../core/groupkey.js";
import { columnInfos, ensureColumns, runAt, valueOf } from "../core/runs.js";
import { view } from "../core/state.js";
import { differingFields, groupRuns, seedFolding } from "./groups.js";

/** Maximum number of config columns loaded to see in what runs differ. */
const MAX_FIELDS = 60;

export class Grouping {
  constructor() {
    /** @type {import("./groups.js").Group[]} */
    this.groups = [];
    /** @type {string[]} config fields in which the runs differ */
    this.fields = [];
    /** Whether the runs differ only in their seed. */
    this.foldsSeeds = false;
  }

  /** @param {string[]} drawn */
  update(drawn) {
    const { group, seeds } = view.value;
    this.fields = [];
    if (drawn.length > 1) {
      const names = columnInfos.value.filter((one) => one.kind === "config").slice(0, MAX_FIELDS).map((one) => one.name);
      const wanted = [...new Set([...names, ...group])];
      if (wanted.length) void ensureColumns(wanted).catch(() => {});
      this.fields = differingFields(drawn, names, valueOf);
    }
    const folding = seedFolding(drawn, this.fields, valueOf);
    this.foldsSeeds = folding !== null;
    this.groups = groupRuns(drawn, group.length ? group : seeds ? folding : null, valueOf, (ref) => runAt(ref)?.name ?? ref);
    showGroups(this.groups.map((one) => one.id).filter(isGroup));
  }
}
