import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { SIGKILL } from "../process/signals.ts";
import { describeProcesses } from "./describe-processes.ts";
import { tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { killFrozen, listProcesses } from "./native.ts";

/** Options of `killCgroup`. */
export interface KillCgroupOptions {
  /** SIGKILL if not given. Another signal is sent once, without waiting for the processes to end. */
  readonly signal?: number;
  /** How long it may take after SIGKILL until the cgroup is empty; 10 s if not given. */
  readonly timeoutMs?: number;
  /** Called before each round of SIGKILL; false stops, even if processes are left. */
  readonly mayContinue?: () => boolean;
}

/** The cgroup.procs file of a cgroup in each hierarchy, for `SpawnOptions.cgroupProcsPaths`. */
export function cgroupProcsPaths(layout: CgroupLayout, path: string): readonly string[] {
  return cgroupDirs(layout, path).map((dir) => `${dir}/cgroup.procs`);
}

/** The processes in a cgroup and below it, without zombies; none when the cgroup does not exist. */
export async function cgroupProcs(layout: CgroupLayout, path: string): Promise<readonly number[]> {
  return processesIn([processDir(layout, path)]);
}

/**
 * Sends a signal to every process in a cgroup and below it. With SIGKILL it resolves when the cgroup is
 * empty or does not exist. It rejects with `deadline-exceeded` when a process does not end in time, for example because
 * it hangs in the kernel: the error names the process, its state and where it waits. Its SIGKILL stays
 * pending, so it ends as soon as it can.
 *
 * A process cannot escape SIGKILL by forking: v2 has cgroup.kill; on v1 the cgroup is frozen while
 * its processes are signalled, until none is left. A cgroup that was frozen is thawed.
 */
export async function killCgroup(
  layout: CgroupLayout,
  path: string,
  options: KillCgroupOptions = {},
): Promise<void> {
  const dirs = [processDir(layout, path)];
  const signal = options.signal ?? SIGKILL;
  if (signal === SIGKILL) {
    await killUntilEmpty(path, dirs, (pids) => killAll(layout, path, pids), options);
  } else {
    sendSignals(await processesIn(dirs), signal);
  }
}

/**
 * Like {@link killCgroup} with SIGKILL, for a cgroup that programs other than an OCI runtime use:
 * on v1 their processes may be in only one of the hierarchies.
 */
export async function killInEveryHierarchy(
  layout: CgroupLayout,
  path: string,
  options: Omit<KillCgroupOptions, "signal">,
): Promise<void> {
  await killCgroup(layout, path, options);
  if (layout.version === "v2") return;
  const kill = (pids: readonly number[]): void => {
    sendSignals(pids, SIGKILL);
  };
  await killUntilEmpty(path, cgroupDirs(layout, path), kill, options);
}

/** Calls `kill` until no process is left in these directories of the cgroup. */
async function killUntilEmpty(
  path: string,
  dirs: readonly string[],
  kill: (pids: readonly number[]) => void | Promise<void>,
  { timeoutMs = 10_000, mayContinue }: KillCgroupOptions,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const pids = await processesIn(dirs);
    if (pids.length === 0 || mayContinue?.() === false) return;
    // Not before a first try: on a machine under load, listing the processes alone may take that long.
    if (waitMs > 1 && performance.now() > deadline) throw await notEnded(path, pids, timeoutMs);
    await kill(pids);
    await delay(waitMs);
  }
}

/** Kills all processes in a cgroup; only `pids` when the kernel can neither kill nor freeze the whole cgroup. */
async function killAll(layout: CgroupLayout, path: string, pids: readonly number[]): Promise<void> {
  if (await killWhole(layout, path)) return;
  sendSignals(pids, SIGKILL);
}

async function killWhole(layout: CgroupLayout, path: string): Promise<boolean> {
  // Since Linux 5.14.
  if (layout.version === "v2") {
    return tryWriteCgroupFile(`${processDir(layout, path)}/cgroup.kill`, "1");
  }
  const freezer = controllerDir(layout, "freezer", path);
  return freezer !== undefined && (await killFrozen(freezer));
}

/** The error about processes that do not end, with the facts to find out why. */
async function notEnded(
  path: string,
  pids: readonly number[],
  timeoutMs: number,
): Promise<RuntimeError> {
  // Processes that hang come first. Others, such as the first process of their namespace, wait for them.
  const { waits, shown } = await describeProcesses(pids, ({ state }) => state === "D");
  const isFrozen = waits.some(({ channel }) => /refrigerator|freezer/.test(channel));
  const todo = isFrozen
    ? "a parent cgroup is frozen: thaw it"
    : "it ends when the storage, network file system or device that it waits for responds: fix " +
      "that, or restart the node";
  return new RuntimeError(
    "deadline-exceeded",
    `kill cgroup "${path}": still running ${timeoutMs} ms after SIGKILL: ${shown}; ${todo}`,
  );
}

/** The directory whose cgroup.procs counts: on v1 that of the freezer, because killing uses it. */
export function processDir(layout: CgroupLayout, path: string): string {
  const first = cgroupDirs(layout, path)[0] ?? "";
  if (layout.version === "v2") return first;
  return (
    controllerDir(layout, "freezer", path) ??
    controllerDir(layout, "pids", path) ??
    controllerDir(layout, "memory", path) ??
    first
  );
}

/** The processes in these directories of cgroups and below them, each once. */
async function processesIn(dirs: readonly string[]): Promise<readonly number[]> {
  return [...new Set(await listProcesses(dirs))];
}

function sendSignals(pids: readonly number[], signal: number): void {
  for (const pid of pids) sendSignal(pid, signal);
}

function sendSignal(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if (errnoCode(cause) !== "ESRCH") {
      throw systemError(`send signal ${signal} to process ${pid}`, cause);
    }
  }
}
