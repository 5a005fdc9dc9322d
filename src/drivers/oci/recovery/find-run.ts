import { readlinkSync } from "node:fs";

import type { StartedContainer } from "../../../core/container/index.ts";
import { containerOfCgroup, type ProcessIdentity } from "../../../core/sandbox/index.ts";
import { openProcess, type ProcessRef } from "../../../linux/process/index.ts";
import { readExitFile } from "../container-end.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { runtimeStatus } from "../runtime-command.ts";
import { textOf } from "./orphans.ts";

/** What a start got to whose daemon died before it was on record. */
export interface FoundRun {
  readonly started: StartedContainer;
  /** Undefined: it has ended. */
  readonly process: ProcessRef | undefined;
}

/**
 * Undefined for a container whose command never ran: it was not marked as started, or its first
 * process still waits to be told to go on (OCI runtime-spec, runtime.md, status "created").
 */
export async function findRun(options: {
  readonly id: string;
  readonly facts: RuntimeState;
  readonly monitor: ProcessIdentity | undefined;
  readonly places: StateLayout;
}): Promise<FoundRun | undefined> {
  const { id, facts, monitor, places } = options;
  const mark = await textOf(places.file(id, "started"));
  if (!/^\d+$/.test(mark)) return undefined;
  const startedAtNs = BigInt(mark);
  const pid = Number.parseInt(await textOf(places.file(id, "pid")), 10);
  if (!(pid > 0)) return undefined;
  const process = await openOwn(pid, id);
  if (process === undefined) {
    // Its end is on record only if it did run: conmon tells of every process that it has reaped.
    const end = readExitFile(places.exit(id));
    if (end === undefined && monitor === undefined) return undefined;
    return { started: { process: { pid, startTime: "0" }, monitor, startedAtNs }, process };
  }
  const root = places.runtimeRoot(facts.runtimePath);
  if ((await runtimeStatus(facts.runtimePath, root, id)) === "running") {
    const identity = { pid, startTime: String(process.startTime) };
    return { started: { process: identity, monitor, startedAtNs }, process };
  }
  process.close();
  return undefined;
}

/** The process, if it is in a cgroup of the container: by now the pid may be another's. */
async function openOwn(pid: number, id: string): Promise<ProcessRef | undefined> {
  const process = openProcess(pid);
  const cgroups = await textOf(`/proc/${pid}/cgroup`);
  if (cgroups.split(/[/\n]/).some((name) => containerOfCgroup(name) === id)) return process;
  process?.close();
  return undefined;
}

/** The process of a record, if it still is that process. */
export function found(identity: ProcessIdentity | undefined): ProcessRef | undefined {
  if (identity === undefined) return undefined;
  return openProcess(identity.pid, BigInt(identity.startTime));
}

/** True when the process is in our own PID namespace, and so its orphans are not its init's. */
export function sharesHostPids(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`) === readlinkSync("/proc/self/ns/pid");
  } catch {
    return false;
  }
}
