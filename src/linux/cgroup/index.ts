/**
 * Control groups of the host, v1 and v2, in the mounted hierarchies; nothing here mounts one.
 * Start at `layout.ts`. A cgroup is named by its path from the root of each hierarchy (`/davit/abc`). The layout is
 * a plain value, so that tests can use a directory of their own.
 */
export { expectCgroupMigration, prewarmCgroupMigration, speedUpCgroupMigration } from "./attach.ts";
export { type CachedFiles, CgroupFdCache } from "./fd-cache.ts";
export { freezeCgroup, isFrozen, keepFreezing, thawCgroup } from "./freeze.ts";
export {
  cgroupProcs,
  cgroupProcsPaths,
  type KillCgroupOptions,
  killCgroup,
  killInEveryHierarchy,
  processDir,
} from "./kill.ts";
export {
  type CgroupHierarchy,
  type CgroupLayout,
  cgroupDirs,
  controllerDir,
  detectCgroups,
  hasNsdelegate,
  type LegacyCgroups,
  type UnifiedCgroups,
} from "./layout.ts";
export { countOpenFiles, type OpenFiles } from "./native.ts";
export { memoryInUse, assertLimitAboveUsage } from "./memory-use.ts";
export { findProcessLimit } from "./process-count.ts";
export { reclaimMemory } from "./reclaim.ts";
export { rememberLimits } from "./remember.ts";
export { countOomKilled, oomEventsFile, oomKills, oomKillsOfGone, parseOomKills } from "./oom.ts";
export { type CgroupOomWatch, watchOomEvents } from "./oom-watch.ts";
export { type CgroupResources, writeResources } from "./resources.ts";
export {
  syncLimitsToSystemd,
  bitMask,
  type CallSystemd,
  callSystemd,
  changeSliceArgs,
  limitProperties,
  startSliceArgs,
  stopSliceArgs,
} from "./systemd.ts";
export {
  cgroupsIn,
  createCgroup,
  createEmptyCgroup,
  removeCgroup,
  removeEmptyCgroup,
} from "./tree.ts";
