import { writeFile } from "node:fs/promises";

import type { Any } from "@bufbuild/protobuf/wkt";
import { kindOf, messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { Clock } from "../../../base/time.ts";
import { beforeAbort } from "../../../base/wait.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import { openProcess, type ProcessRef } from "../../../linux/process/index.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import { askForProcess } from "../process/shim-process.ts";
import type { StateLayout } from "../process/state-layout.ts";
import { createTask } from "./bundle.ts";
import type { CriuTurns } from "./criu-turns.ts";
import { refuseHostProcesses } from "./host-processes.ts";
import { type PrepareRestore, prepareTaskRestore, type TaskRestore } from "./restore.ts";
import { processText } from "./shim-answers.ts";
import type { TaskState } from "./task-state.ts";

interface Deps {
  readonly paths: StateLayout;
  readonly cgroups: CgroupLayout;
  readonly clock: Clock;
  readonly log: Logger;
  readonly criu: CriuTurns;
  readonly shims: Pick<PodShims, "kill">;
  readonly prepareRestore: PrepareRestore;
}

/** How long a shim may take to answer after a restore that took too long. It answers while it restores. */
const answerMs = 2_000;

/** A task whose bundle is written, and its shim, which is connected. */
interface NewTask {
  readonly bundle: ContainerBundle;
  readonly state: TaskState;
  readonly options: Any;
  readonly shim: PodShim;
}

/** A task whose process runs. */
interface StartedTask {
  readonly pid: number;
  /** Undefined when it has ended, or is not a process of this host. */
  readonly process: ProcessRef | undefined;
  readonly startedAtNs: bigint;
}

/**
 * Creates and starts a task, or restores its processes. They run nothing of their own before `beforeCommand` has ended
 * and the start is marked. After a failure, the caller removes the task.
 */
export async function startTask(
  deps: Deps,
  task: NewTask,
  operation: Operation,
): Promise<StartedTask> {
  const { id, sandboxId, restore: source } = task.bundle;
  if (source === undefined) return await run(deps, task, operation);
  using _turn = await deps.criu.take(sandboxId, `restore container "${id}"`, operation.signal);
  const given = { bundle: task.bundle, restore: source, shim: task.shim };
  const restore = await prepareTaskRestore(deps, given, operation.signal);
  try {
    return await run(deps, task, operation, restore);
  } catch (error) {
    const [answers] = await Promise.all([answersStill(task, operation.signal), restore.end()]);
    if (answers) throw error;
    throw await endSilentShim(deps, task, error);
  } finally {
    await restore.close();
  }
}

/** False for a shim that does not answer once its restore was given up, at the deadline or by a stop. */
async function answersStill({ bundle, shim }: NewTask, signal: AbortSignal): Promise<boolean> {
  if (!signal.aborted) return true;
  try {
    await askForProcess(shim.task, bundle.sandboxId, answerMs);
    return true;
  } catch {
    return false;
  }
}

/**
 * Ends a shim that does not answer, so that what it has made can be removed, and nothing is made later. Returns the error
 * of the restore.
 */
async function endSilentShim(
  { shims }: Deps,
  { bundle: { id, sandboxId }, shim }: NewTask,
  cause: unknown,
): Promise<RuntimeError> {
  await shims.kill(sandboxId, shim.process);
  const text = `restore container "${id}": ${messageOf(cause)}; the shim of its pod${processText(shim)} does not answer, and was killed with all containers of the pod: create them again`;
  return new RuntimeError(kindOf(cause), text, { cause });
}

async function run(
  deps: Deps,
  { bundle, state, options, shim }: NewTask,
  operation: Operation,
  restore?: TaskRestore,
): Promise<StartedTask> {
  const { id } = bundle;
  const { signal } = operation;
  const start = (): Promise<unknown> =>
    shim.task.call(Task.method.start, { id }, { signal, timeoutMs: 0 });
  await operation.enter("create-process");
  const checkpoint = restore?.monitor.images ?? "";
  const task = { bundle, state, options, checkpoint };
  const created = await createTask(deps.paths, shim, task, signal);
  // The shim restores in its start, and answers when the processes run on.
  const restoring = restore && { restore, answer: start() };
  const pid =
    restoring === undefined ? created : await restoring.restore.created(restoring.answer, signal);
  await refuseHostProcesses(bundle, pid, deps.cgroups);
  const process = openProcess(pid);
  await bundle.beforeCommand?.(pid);
  await operation.enter("mark-start");
  // Before the call: a short process has ended when the call returns.
  const startedAtNs = deps.clock.nowNs();
  const mark = deps.paths.taskFile(id, "started");
  await writeFile(mark, `${startedAtNs} ${pid}`, { mode: 0o600 });
  await operation.enter("start-process");
  await beforeAbort(restoring?.restore.letRun(restoring.answer) ?? start(), signal);
  return { pid, process, startedAtNs };
}
