import { readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Logger } from "../../../base/logger.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { findByCommandLine, killProcessTree, openProcess } from "../../../linux/process/index.ts";
import { endTree } from "../end-tree.ts";
import type { StateLayout } from "../state-layout.ts";

const killMs = 1_000;

/** Processes of an earlier daemon on the same state. */
export interface Orphans {
  /** The monitors, by container id. */
  readonly monitors: Map<string, readonly ProcessIdentity[]>;
  /** OCI runtimes that run commands of ExecSync. */
  readonly execs: readonly ProcessIdentity[];
  /** OCI runtimes that capture containers, by the directory in which CRIU works. */
  readonly captures: ReadonlyMap<string, ProcessIdentity>;
}

/**
 * Finds them by their command lines: a daemon can die between starting a process and recording it,
 * and then only the process itself shows that it exists.
 */
export async function findOrphans(
  paths: Pick<StateLayout, "containers" | "exits" | "execs">,
): Promise<Orphans> {
  const monitors = new Map<string, readonly ProcessIdentity[]>();
  const execs: ProcessIdentity[] = [];
  const captures = new Map<string, ProcessIdentity>();
  const state = dirname(paths.containers);
  const found = await findByCommandLine(
    (args) =>
      monitoredId(args, paths.exits) !== undefined ||
      runsCommand(args, paths.execs) ||
      captureDirectory(args, state) !== undefined,
  );
  for (const { pid, startTime, args } of found) {
    const id = monitoredId(args, paths.exits);
    const work = captureDirectory(args, state);
    if (id !== undefined) monitors.set(id, [...(monitors.get(id) ?? []), { pid, startTime }]);
    else if (work !== undefined) captures.set(work, { pid, startTime });
    else execs.push({ pid, startTime });
  }
  return { monitors, execs, captures };
}

/** The directory in which the CRIU of an OCI runtime's checkpoint works; undefined for another command or state. */
export function captureDirectory(args: readonly string[], state: string): string | undefined {
  const root = args[args.indexOf("--root") + 1];
  if (!args.includes("checkpoint") || root === undefined || dirname(root) !== state)
    return undefined;
  const option = "--work-path=";
  return args.find((arg) => arg.startsWith(option))?.slice(option.length);
}

/** Ends captures. Their containers run on, or are thawed by the engine if they were paused. */
export async function endCaptures(
  captures: ReadonlyMap<string, ProcessIdentity>,
  log: Logger,
): Promise<void> {
  if (captures.size === 0) return;
  const { endCriu } = await import("../checkpoint/end-criu.ts");
  for (const [work, runtime] of captures) {
    await endCriu(work, log);
    await endOrphans([runtime]);
    await endCriu(work, log);
  }
}

/** Whether a command line is that of an OCI runtime's exec that we started (`startCommand`). */
export function runsCommand(args: readonly string[], execs: string): boolean {
  const at = args.indexOf("--pid-file");
  return at >= 0 && args.includes("exec") && args[at + 1]?.startsWith(`${execs}/`) === true;
}

/**
 * The container of a monitor, conmon or davit's own, by its command line. Paths are made of the id, so
 * only a valid id (`newContainerId`) is accepted.
 */
export function monitoredId(args: readonly string[], exits: string): string | undefined {
  const valueOf = (name: string): string | undefined => {
    const at = args.indexOf(name);
    return at < 0 ? undefined : args[at + 1];
  };
  const id = valueOf("--exit-dir") === exits ? valueOf("--cid") : undefined;
  return id !== undefined && /^[0-9a-f]{64}$/.test(id) ? id : undefined;
}

/** Kills monitors and OCI runtimes with their descendants. */
export async function endOrphans(orphans: readonly ProcessIdentity[]): Promise<void> {
  for (const { pid, startTime } of orphans) {
    using process = openProcess(pid, BigInt(startTime));
    if (process !== undefined) await endTree(process, killMs);
  }
}

/**
 * Ends the commands that an earlier daemon ran for ExecSync and removes their files, as no client waits
 * for them. A pid may have been reused, so the process's cgroup must name the container.
 */
export async function endCommands(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const id = /^(.+)-[0-9a-f]+\.pid$/.exec(name)?.[1];
    const pid = id === undefined ? 0 : Number.parseInt(await textOf(path), 10);
    if (id !== undefined && pid > 0) {
      const cgroups = await textOf(`/proc/${pid}/cgroup`);
      if (cgroups.split(/[/\n]/).includes(id)) killProcessTree(pid);
    }
    await rm(path, { force: true });
  }
}

/**
 * The container of a file in the directory of exits. conmon writes `<id>.XXXXXX` and
 * davit-monitor `<id>.tmp`, and they rename it; an id has no dot.
 */
export function idOfExitFile(name: string): string {
  return name.split(".", 1)[0] ?? name;
}

/** Removes the exit files of monitors that died before they renamed them. */
export async function removePartialExits(
  exits: string,
  monitors: ReadonlyMap<string, unknown>,
): Promise<void> {
  for (const name of await readdir(exits)) {
    const id = idOfExitFile(name);
    if (name !== id && !monitors.has(id)) await rm(join(exits, name), { force: true });
  }
}

/** The text of a file; empty if the file does not exist, or if its process has ended (/proc). */
export async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "latin1");
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw cause;
  }
}
