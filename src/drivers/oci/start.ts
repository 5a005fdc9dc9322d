import { writeFileSync } from "node:fs";
import { type FileHandle, mkdir } from "node:fs/promises";
import { join } from "node:path";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { systemError } from "../../base/system-error.ts";
import type { Clock } from "../../base/time.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { ContainerBundle, RestoreSource } from "../../core/container/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import { isScope } from "../../core/sandbox/index.ts";
import { type CgroupLayout, oomEventsFile } from "../../linux/cgroup/index.ts";
import { type Child, openProcess, type ProcessRef } from "../../linux/process/index.ts";
import { writeBundle } from "./bundle.ts";
import type { PreparedRestore } from "./checkpoint/restore.ts";
import type { ContainerMonitor } from "./container-monitor.ts";
import { endTree } from "./end-tree.ts";
import type { ContainerCleanup } from "./recovery/cleanup.ts";
import type { RuntimeState } from "./runtime-state.ts";
import type { StateLayout } from "./state-layout.ts";

/** What {@link startProcess} works with. */
export interface StartDeps {
  readonly paths: StateLayout;
  readonly cgroups: CgroupLayout;
  readonly cleanup: ContainerCleanup;
  readonly monitor: ContainerMonitor;
  readonly clock: Clock;
  readonly log: Logger;
  readonly logRoots?: readonly string[];
}

/** A container's process that runs, and its monitor. */
export interface RunningProcess {
  readonly process: ProcessRef;
  readonly monitor: Child;
  readonly startedAtNs: bigint;
}

/** How long each part of undoing a start may take, so that all of it takes less than 5 s. */
const undoMs = 1_500;

/**
 * Creates and starts a container's process, or restores its processes. They run nothing of their own before
 * `beforeCommand` has ended and the start is marked. A failure leaves nothing behind.
 */
export async function startProcess(
  deps: StartDeps,
  bundle: ContainerBundle,
  state: RuntimeState,
  operation: Operation,
): Promise<RunningProcess> {
  const { paths, cleanup, logRoots = [] } = deps;
  const { id } = bundle;
  await operation.enter("make-bundle");
  await makeBundle(paths, id);
  let monitor: Child | undefined;
  let process: ProcessRef | undefined;
  let restore: PreparedRestore | undefined;
  let logFile: FileHandle | undefined;
  try {
    await operation.enter("write-bundle");
    logFile = await writeBundle(paths, { bundle, state, logRoots }, operation.signal);
    if (bundle.restore !== undefined) {
      restore = await prepareRestore(
        deps,
        { bundle, restore: bundle.restore },
        state,
        operation.signal,
      );
    }

    await operation.enter("start-monitor");
    const starting = await deps.monitor.start({
      runtimePath: state.runtimePath,
      paths,
      bundle,
      logFd: logFile?.fd,
      memoryEvents: isScope(state.cgroupPath)
        ? oomEventsFile(deps.cgroups, state.cgroupPath)
        : undefined,
      restore: restore?.monitor,
    });
    monitor = starting.child;
    // The monitor has its own descriptor. The close below waits for this one.
    logFile?.close().catch(() => undefined);

    await operation.enter("create-process");
    const { answer } = starting;
    const { signal } = operation;
    const pid = await (restore?.created(answer, signal) ?? beforeAbort(answer, signal));
    process = openCreated(pid);
    await bundle.beforeCommand?.(pid);
    await operation.enter("mark-start");
    // Before the call: a short process has ended when the call returns.
    const startedAtNs = deps.clock.nowNs();
    writeFileSync(paths.file(id, "started"), String(startedAtNs), { mode: 0o600 });
    await operation.enter("start-process");
    const running =
      restore?.letRun(starting.answer) ??
      cleanup.call(state, ["start", id], { signal: operation.signal });
    await beforeAbort(running, operation.signal);
    return { process, monitor, startedAtNs };
  } catch (error) {
    process?.close();
    await undo(deps, { id, state, monitor, restore });
    throw error;
  } finally {
    await close(restore, logFile);
  }
}

/** A container that runs its command does not wait for what only a restore has. */
function close(
  restore: PreparedRestore | undefined,
  logFile: FileHandle | undefined,
): Promise<void> | undefined {
  return restore === undefined ? logFile?.close() : closeBoth(restore, logFile);
}

async function closeBoth(restore: PreparedRestore, logFile: FileHandle | undefined): Promise<void> {
  await restore.close();
  await logFile?.close();
}

async function makeBundle(paths: StateLayout, id: string): Promise<void> {
  try {
    await mkdir(paths.bundle(id), { mode: 0o700 });
  } catch (cause) {
    throw systemError(`make bundle of container "${id}"`, cause);
  }
}

function openCreated(pid: number): ProcessRef {
  const process = openProcess(pid);
  if (process !== undefined) return process;
  throw new RuntimeError("unknown", "its process ended before it was started");
}

async function prepareRestore(
  { paths, log }: StartDeps,
  { bundle, restore }: { readonly bundle: ContainerBundle; readonly restore: RestoreSource },
  { runtimePath }: RuntimeState,
  signal: AbortSignal,
): Promise<PreparedRestore> {
  const [loaded, { restoreMounts }] = await Promise.all([
    import("./checkpoint/restore.ts"),
    import("./checkpoint/restore-mounts.ts"),
  ]);
  const { id, spec, cgroupPath } = bundle;
  const directory = paths.file(id, "restore");
  const plan = {
    ...{ id, spec, cgroupPath, restore, runtimePath, directory, log },
    work: paths.bundle(id),
    config: join(directory, "criu.conf"),
    mounts: restoreMounts(paths, id, runtimePath),
  };
  return await loaded.prepareRestore(plan, signal);
}

/** Undoes a failed start. What cannot be undone in time is removed with the container. */
async function undo(
  { cleanup, log }: StartDeps,
  failed: {
    readonly id: string;
    readonly state: RuntimeState;
    readonly monitor: Child | undefined;
    readonly restore: PreparedRestore | undefined;
  },
): Promise<void> {
  const { id, state, monitor, restore } = failed;
  try {
    if (monitor !== undefined) {
      await restore?.end();
      if (!(await endTree(monitor, undoMs))) monitor.unref();
      monitor.stdout?.destroy();
      monitor.stderr?.destroy();
      await cleanup.destroy(id, state, undoMs);
    }
    await restore?.close();
    await cleanup.removeFiles(id);
  } catch (error) {
    log.warn(`failed to undo start of container "${id}": ${messageOf(error)}`, { error });
  }
}
