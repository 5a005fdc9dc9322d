/**
 * Control groups of the host, v1 and v2, below the hierarchies that are mounted: this folder never
 * mounts one. It imports only node:fs and the rest of `linux/`; start at `layout.ts`. A cgroup is
 * named by its path from the hierarchies' roots (`/davit/abc`), and the layout is a plain value, so
 * that tests can point it to a folder of their own.
 */
export { announceAttach, expectAttach } from "./attach.ts";
export { isFrozen, thawCgroup } from "./freeze.ts";
export {
  cgroupProcs,
  cgroupProcsPaths,
  type KillCgroupOptions,
  killCgroup,
  killInEveryHierarchy,
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
export { memoryInUse, refuseBelowUse } from "./memory-use.ts";
export { rememberLimits } from "./remember.ts";
export { oomKills, oomKillsOfGone, parseOomKills } from "./oom.ts";
export { type CgroupResources, weightOfShares, writeResources } from "./resources.ts";
export {
  adoptLimits,
  bitMask,
  type CallSystemd,
  callSystemd,
  changeSliceArgs,
  limitProperties,
  startSliceArgs,
  stopSliceArgs,
} from "./systemd.ts";
export { cgroupsIn, createCgroup, removeCgroup, removeEmptyCgroup } from "./tree.ts";
