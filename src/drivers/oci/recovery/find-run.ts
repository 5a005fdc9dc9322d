import { readlinkSync } from "node:fs";

import type { StartedContainer } from "../../../core/container/index.ts";
import { containerOfCgroup, type ProcessIdentity } from "../../../core/sandbox/index.ts";
import { openProcess, type ProcessRef } from "../../../linux/process/index.ts";
import { readExitFile } from "../container-end.ts";
import type { RuntimeState } from "../runtime-state.ts";
import type { StateLayout } from "../state-layout.ts";
import { runtimeStatus } from "../runtime-command.ts";
import { textOf } from "./orphans.ts";

/** A container whose daemon died before it recorded the start. */
export interface FoundRun {
  readonly started: StartedContainer;
  /** Undefined when it has ended. */
  readonly process: ProcessRef | undefined;
}

/**
 * Undefined for a container whose command never ran: it was not marked as started, or its first
 * process still waits for `start` (OCI runtime-spec, runtime.md, status "created").
 */
export async function findRun(options: {
  readonly id: string;
  readonly state: RuntimeState;
  readonly monitor: ProcessIdentity | undefined;
  readonly paths: StateLayout;
}): Promise<FoundRun | undefined> {
  const { id, state, monitor, paths } = options;
  const mark = await textOf(paths.file(id, "started"));
  if (!/^\d+$/.test(mark)) return undefined;
  const startedAtNs = BigInt(mark);
  const pid = Number.parseInt(await textOf(paths.file(id, "pid")), 10);
  if (!(pid > 0)) return undefined;
  const process = await openOwn(pid, id);
  if (process === undefined) {
    // There is an exit file only if it did run: a monitor writes one for the process that it has reaped.
    const end = readExitFile(paths.exit(id));
    if (end === undefined && monitor === undefined) return undefined;
    return { started: { process: { pid, startTime: "0" }, monitor, startedAtNs }, process };
  }
  const root = paths.runtimeRoot(state.runtimePath);
  if ((await runtimeStatus(state.runtimePath, root, id)) === "running") {
    const identity = { pid, startTime: String(process.startTime) };
    return { started: { process: identity, monitor, startedAtNs }, process };
  }
  process.close();
  return undefined;
}

/** The process, if it is in a cgroup of the container: the pid may have been reused. */
async function openOwn(pid: number, id: string): Promise<ProcessRef | undefined> {
  const process = openProcess(pid);
  const cgroups = await textOf(`/proc/${pid}/cgroup`);
  if (cgroups.split(/[/\n]/).some((name) => containerOfCgroup(name) === id)) return process;
  process?.close();
  return undefined;
}

/** Opens the process of a record; undefined if it has ended. */
export function openRecorded(identity: ProcessIdentity | undefined): ProcessRef | undefined {
  if (identity === undefined) return undefined;
  return openProcess(identity.pid, BigInt(identity.startTime));
}

/** True when the process is in our own PID namespace, and so does not adopt its orphans as an init. */
export function usesHostPids(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`) === readlinkSync("/proc/self/ns/pid");
  } catch {
    return false;
  }
}
