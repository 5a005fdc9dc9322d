import {
  type CgroupLayout,
  expectCgroupMigration,
  prewarmCgroupMigration,
  speedUpCgroupMigration,
} from "../../linux/cgroup/index.ts";
import { preferEventLoop } from "../../linux/process/index.ts";

/**
 * The measures that only make davit faster or smaller (`[tuning]`). Each has a plain alternative with
 * the same results, so that an operator can rule them out when something looks wrong.
 */
export interface Tuning {
  /** Raises the priority of the thread that runs the event loop. */
  preferEventLoop(): void;
  /** Makes moves of processes into cgroups fast where the kernel can do that. Never fails. */
  speedUpCgroupMigration(layout: CgroupLayout): Promise<void>;
  /** Begins the kernel's wait before a process is moved into a cgroup. Never fails. */
  prewarmCgroupMigration(layout: CgroupLayout): void;
  /** Repeats that until `isOver`, for a process that another program moves. */
  expectCgroupMigration(layout: CgroupLayout, isOver: () => boolean): void;
  /** Milliseconds for which calls may begin in one turn of the event loop; undefined begins all at once. */
  readonly callBudgetMs: number | undefined;
  /** Keeps cgroup files open between samples of stats. */
  readonly cachesCgroupFiles: boolean;
  /** Keeps the code that a start compiled for the next start. */
  readonly keepsCompiledCode: boolean;
  /** Gives memory back while the daemon is idle. */
  readonly trimsMemory: boolean;
}

/** The measures in use; with `enable` false none of them. */
export function tuningOf({ enable }: { readonly enable: boolean }): Tuning {
  return {
    preferEventLoop: () => {
      if (enable) preferEventLoop();
    },
    speedUpCgroupMigration: async (layout) => {
      if (enable) await speedUpCgroupMigration(layout);
    },
    prewarmCgroupMigration: (layout) => {
      if (enable) void prewarmCgroupMigration(layout);
    },
    expectCgroupMigration: (layout, isOver) => {
      if (enable) expectCgroupMigration(layout, isOver);
    },
    callBudgetMs: enable ? 2 : undefined,
    cachesCgroupFiles: enable,
    keepsCompiledCode: enable,
    trimsMemory: enable,
  };
}
