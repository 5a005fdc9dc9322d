import type { Logger } from "../../../base/logger.ts";
import type { StartedContainer } from "../../../core/container/index.ts";
import { openProcess, type ProcessRef } from "../../../linux/process/index.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import type { StateLayout } from "../process/state-layout.ts";
import { readExitNote } from "./exit-note.ts";
import { hasRun, identityOf, readText } from "./shim-answers.ts";
import type { TaskState } from "./task-state.ts";

/** A container whose daemon died before it recorded the start. */
export interface FoundRun {
  readonly started: StartedContainer;
  /** Undefined when it has ended, or is not a process of this host. */
  readonly process: ProcessRef | undefined;
  /** Undefined when its shim is dead. */
  readonly shim: PodShim | undefined;
}

/** Undefined for a container whose command never ran: it was not marked as started, or its shim did not start it. */
export async function findRun(
  deps: { readonly paths: StateLayout; readonly shims: PodShims; readonly log: Logger },
  id: string,
  state: TaskState,
): Promise<FoundRun | undefined> {
  const { paths, shims, log } = deps;
  const mark = await readText(paths.taskFile(id, "started"));
  const [startedAt, pidText] = /^(\d+) (\d+)$/.exec(mark ?? "")?.slice(1) ?? [];
  if (startedAt === undefined || pidText === undefined) return undefined;
  const shim = await shims.find(state.sandboxId);
  const exit = await readExitNote(paths.taskFile(id, "exit.json"), log);
  if (exit === undefined && (shim === undefined || !(await hasRun(shim, id)))) return undefined;
  const pid = Number(pidText);
  // If the process has ended, its pid may have been reused.
  const process = exit === undefined ? openProcess(pid) : undefined;
  const identity = exit === undefined ? identityOf(process, pid) : { pid, startTime: "0" };
  const started = { process: identity, monitor: shim?.process, startedAtNs: BigInt(startedAt) };
  return { started, process, shim };
}
