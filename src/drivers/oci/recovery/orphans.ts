import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { findByCommandLine, killProcessTree, openProcess } from "../../../linux/process/index.ts";
import { endTree } from "../end-tree.ts";
import type { StateLayout } from "../state-layout.ts";

const killMs = 1_000;

/** Processes of an earlier daemon on the same state. */
export interface Orphans {
  /** The conmons, by container id. */
  readonly monitors: Map<string, readonly ProcessIdentity[]>;
  /** OCI runtimes that run commands of ExecSync. */
  readonly execs: readonly ProcessIdentity[];
}

/**
 * Finds them by their command lines: a daemon can die between starting a process and recording it,
 * and then only the process itself shows that it exists.
 */
export async function findOrphans(paths: Pick<StateLayout, "exits" | "execs">): Promise<Orphans> {
  const monitors = new Map<string, readonly ProcessIdentity[]>();
  const execs: ProcessIdentity[] = [];
  const found = await findByCommandLine(
    (args) => monitoredId(args, paths.exits) !== undefined || runsCommand(args, paths.execs),
  );
  for (const { pid, startTime, args } of found) {
    const id = monitoredId(args, paths.exits);
    if (id === undefined) execs.push({ pid, startTime });
    else monitors.set(id, [...(monitors.get(id) ?? []), { pid, startTime }]);
  }
  return { monitors, execs };
}

/** Whether a command line is that of an OCI runtime's exec that we started (`startCommand`). */
export function runsCommand(args: readonly string[], execs: string): boolean {
  const at = args.indexOf("--pid-file");
  return at >= 0 && args.includes("exec") && args[at + 1]?.startsWith(`${execs}/`) === true;
}

/**
 * The container of a conmon, by the command line of `startMonitor`. Paths are made of the id, so
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

/** Kills conmons and OCI runtimes with their descendants. */
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
 * The container of a file in the directory of exits. conmon writes `<id>.XXXXXX` and renames
 * it; an id has no dot.
 */
export function idOfExitFile(name: string): string {
  return name.split(".", 1)[0] ?? name;
}

/** Removes the exit files of conmons that died before they renamed them. */
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
