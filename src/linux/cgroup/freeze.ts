import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { findCgroupFile, tryWriteCgroupFile } from "./files.ts";
import { describeProcesses } from "./describe-processes.ts";
import { cgroupProcs } from "./kill.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";

/** How long all processes of a cgroup may take to freeze; it is less than a millisecond where none hangs. */
const freezeMs = 2_000;
const longestWaitMs = 10;
/** After how many rounds of waiting, about 35 ms, all processes run for a moment. */
const thawEvery = 8;
/**
 * Where the kernel keeps a frozen process: v1 in __refrigerator, v2 in do_freezer_trap (kernel/signal.c), which the compiler
 * may have made a part of get_signal. Nothing else sleeps there.
 */
const frozenChannel = /refrigerator|freezer|^get_signal$/;

/** Whether a cgroup is frozen, on v1 also by a parent; undefined when it does not exist. */
export async function isFrozen(layout: CgroupLayout, path: string): Promise<boolean | undefined> {
  const { file, thawed } = freezerOf(layout, path);
  const state = await findCgroupFile(file);
  return state === undefined ? undefined : state !== thawed;
}

interface FreezeOptions {
  readonly signal: AbortSignal;
  /** How long it may take until all processes are frozen; 2 s if not given. */
  readonly timeoutMs?: number;
}

/**
 * Freezes all processes in a cgroup and below it. Resolves when none of them runs any more; false when the cgroup does
 * not exist. Idempotent. `deadline-exceeded` for a process that does not freeze in time, as it hangs in the kernel: the
 * error names it. After an error, also that of an aborted signal, the cgroup is thawed.
 */
export async function freezeCgroup(
  layout: CgroupLayout,
  path: string,
  options: FreezeOptions,
): Promise<boolean> {
  options.signal.throwIfAborted();
  try {
    return await keepFreezing(layout, path, options);
  } catch (error) {
    await thawCgroup(layout, path);
    throw error;
  }
}

/** Like {@link freezeCgroup}, for a cgroup that something else freezes and thaws: it stays as it is after an error. */
export async function keepFreezing(
  layout: CgroupLayout,
  path: string,
  { signal, timeoutMs = freezeMs }: FreezeOptions,
): Promise<boolean> {
  const { file, frozen } = freezerOf(layout, path);
  const deadline = performance.now() + timeoutMs;
  for (let round = 1; ; round++) {
    // NOTE(kernel): each write on v1 freezes again what the last one missed: processes that were moved into the
    // cgroup or forked meanwhile (kernel/cgroup/legacy_freezer.c, freezer_apply_state).
    if (!(await tryWriteCgroupFile(file, frozen))) return false;
    if (await hasFrozen(layout, path)) return true;
    if (performance.now() > deadline) throw await notFrozen(layout, path, timeoutMs);
    // NOTE(kernel): an execve waits for the other threads of its process to die, which frozen threads on v1 do not. runc
    // starts every container with such an execve. v2 lets them die.
    if (layout.version === "v1" && round % thawEvery === 0) await thawCgroup(layout, path);
    await delay(Math.min(round, longestWaitMs));
    signal.throwIfAborted();
  }
}

/**
 * Thaws a cgroup. Cgroups below it that are frozen by themselves stay frozen, and so does a cgroup with a frozen
 * parent. Does nothing when the cgroup does not exist.
 */
export async function thawCgroup(layout: CgroupLayout, path: string): Promise<void> {
  const { file, thawed } = freezerOf(layout, path);
  await tryWriteCgroupFile(file, thawed);
}

/** True when all processes are frozen, or when there is none any more. */
async function hasFrozen(layout: CgroupLayout, path: string): Promise<boolean> {
  if (layout.version === "v1") {
    // It is FREEZING until all of them are frozen.
    return (await findCgroupFile(freezerOf(layout, path).file)) === "FROZEN";
  }
  const events = await findCgroupFile(`${cgroupDirs(layout, path)[0] ?? ""}/cgroup.events`);
  return events === undefined || /^frozen 1$/m.test(events);
}

async function notFrozen(
  layout: CgroupLayout,
  path: string,
  timeoutMs: number,
): Promise<RuntimeError> {
  const pids = await cgroupProcs(layout, path);
  const { shown } = await describeProcesses(pids, ({ channel }) => !frozenChannel.test(channel));
  return new RuntimeError(
    "deadline-exceeded",
    `freeze cgroup "${path}": not frozen after ${timeoutMs} ms: ${shown}; it freezes when the storage, network file ` +
      "system or device that it waits for responds: fix that and try again",
  );
}

/** cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze. */
function freezerOf(
  layout: CgroupLayout,
  path: string,
): { file: string; thawed: string; frozen: string } {
  if (layout.version === "v2") {
    const file = `${cgroupDirs(layout, path)[0] ?? ""}/cgroup.freeze`;
    return { file, thawed: "0", frozen: "1" };
  }
  const dir = controllerDir(layout, "freezer", path) ?? "/nonexistent";
  return { file: `${dir}/freezer.state`, thawed: "THAWED", frozen: "FROZEN" };
}
