import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { nativeCount, nativeTexts } from "../native.ts";
import { describeWait, processWait } from "../process/process-wait.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";

const SIGKILL = 9;
/** How many processes an error names. */
const shownProcesses = 3;
/** How many are looked at for that: there may be thousands. */
const lookedAt = 64;

/** How `killCgroup` kills. */
export interface KillCgroupOptions {
  /** SIGKILL if not given; another one is sent once and not waited for. */
  readonly signal?: number;
  /** How long SIGKILL may take until the cgroup is empty; 10 s if not given. */
  readonly timeoutMs?: number;
  /** Asked before each round of SIGKILL; false ends it, whatever is left. */
  readonly mayGoOn?: () => boolean;
}

/** The cgroup.procs file of a cgroup in each hierarchy: what `SpawnOptions.cgroupProcsPaths` takes. */
export function cgroupProcsPaths(layout: CgroupLayout, path: string): readonly string[] {
  return cgroupDirs(layout, path).map((dir) => `${dir}/cgroup.procs`);
}

/** The processes in a cgroup and in those below it; none when it is gone. Zombies do not count. */
export async function cgroupProcs(layout: CgroupLayout, path: string): Promise<readonly number[]> {
  return processesIn([processDir(layout, path)]);
}

/**
 * Sends a signal to every process in a cgroup and below. With SIGKILL it is done when the cgroup is
 * empty (or gone) and rejects with `deadline-exceeded` when a process does not die in time, as one
 * that hangs in the kernel: the error names it, its state and where it waits. Its SIGKILL stays
 * pending, so it ends as soon as it can.
 *
 * SIGKILL cannot be escaped by forking: v2 has cgroup.kill for it; on v1 the cgroup is frozen while
 * its processes are signalled, again until none is left. A cgroup that was frozen is thawed.
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
 * Like {@link killCgroup} by SIGKILL, for a cgroup that others than an OCI runtime put processes into:
 * on v1 one may be in a single hierarchy.
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

/** One round of `kill` after another until nothing is left in these directories of the cgroup. */
async function killUntilEmpty(
  path: string,
  dirs: readonly string[],
  kill: (pids: readonly number[]) => void | Promise<void>,
  { timeoutMs = 10_000, mayGoOn }: KillCgroupOptions,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const pids = await processesIn(dirs);
    if (pids.length === 0 || mayGoOn?.() === false) return;
    // Not before it has been tried: listing them alone may last that long on a machine under load.
    if (waitMs > 1 && performance.now() > deadline) throw await stillThere(path, pids, timeoutMs);
    await kill(pids);
    await delay(waitMs);
  }
}

/** SIGKILL for all in a cgroup; for `pids` alone where the kernel can neither kill nor freeze it as a whole. */
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
  return freezer !== undefined && (await nativeCount("killFrozen", [freezer]))[0] === 1;
}

/** The error about processes that do not die, with what a person needs to find out why. */
async function stillThere(
  path: string,
  pids: readonly number[],
  timeoutMs: number,
): Promise<RuntimeError> {
  const looks = pids.slice(0, lookedAt).map((pid) => processWait(pid));
  const found = (await Promise.all(looks)).filter((wait) => wait !== undefined);
  // Those that hang come first: others, like the first process of their namespace, wait for them.
  const waits = found.toSorted((a, b) => Number(b.state === "D") - Number(a.state === "D"));
  // What cannot be looked at any more has ended in this moment, or is hidden: its pid at least.
  const named = waits.length > 0 ? waits.map(describeWait) : pids.map((pid) => `process ${pid}`);
  const shown = named.slice(0, shownProcesses).join("; ");
  const more = named.length > shownProcesses ? `; and ${named.length - shownProcesses} more` : "";
  const isFrozen = waits.some(({ channel }) => /refrigerator|freezer/.test(channel));
  const todo = isFrozen
    ? "a cgroup above it is frozen: thaw that"
    : "it ends when the storage, network file system or device that it waits for answers: fix " +
      "that, or restart the node";
  return new RuntimeError(
    "deadline-exceeded",
    `kill cgroup "${path}": still there ${timeoutMs} ms after SIGKILL: ${shown}${more}; ${todo}`,
  );
}

/** The directory whose cgroup.procs counts: on v1 the freezer's, as killing works by it. */
function processDir(layout: CgroupLayout, path: string): string {
  const first = cgroupDirs(layout, path)[0] ?? "";
  if (layout.version === "v2") return first;
  return (
    controllerDir(layout, "freezer", path) ??
    controllerDir(layout, "pids", path) ??
    controllerDir(layout, "memory", path) ??
    first
  );
}

/** The processes in these directories of cgroups and in those below, each once. */
async function processesIn(dirs: readonly string[]): Promise<readonly number[]> {
  const [text = null] = await nativeTexts("listProcesses", dirs);
  // 0 is a process that our PID namespace does not see; signalling it would hit ourselves.
  const pids = (text ?? "").split("\n").map(Number);
  return [...new Set(pids.filter((pid) => pid > 0))];
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
