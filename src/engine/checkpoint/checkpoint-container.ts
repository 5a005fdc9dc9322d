import { RuntimeError } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import { maxTimerMs } from "../../base/time.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type ContainerContext, runningContainer } from "../container/context.ts";
import { buildOrUndo } from "../lifecycle/inflight-creates.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import {
  type Capturable,
  capturable,
  captureFiles,
  captureMemory,
  maxCheckpointMs,
  timeUntil,
} from "./capture.ts";
import { PausedContainers } from "./pause-all.ts";

/** Which container, and where its checkpoint is written. */
export interface ContainerCheckpoint {
  /** An id, or a unique prefix of one. */
  readonly containerId: string;
  /** The absolute path of a new file in an existing directory. */
  readonly location: string;
  /** 0 for {@link maxCheckpointMs}. */
  readonly timeoutSeconds: bigint;
  /** When the caller gives up, in milliseconds since 1970. */
  readonly deadlineMs?: number | undefined;
}

/**
 * Writes a checkpoint of a running container to a new file, which only root can read. The container is paused
 * meanwhile, and runs on in any case. Established TCP connections are captured; a restore closes them.
 *
 * `invalid-argument` or `already-exists` for a location where no file can be made, `failed-precondition` for a
 * container that does not run or cannot be captured, `unimplemented` where its runtime cannot do it. A failure, the end
 * of the caller and a stop of the container leave no file.
 */
export async function checkpointContainer(
  context: ContainerContext,
  request: ContainerCheckpoint,
  caller: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(request.containerId);
  const doing = `checkpoint container "${id}"`;
  checkRequest(request, doing);
  runningContainer(context, id, "checkpoint");
  const { outputs } = await context.checkpoints.open();
  await outputs.checkNewFile(request.location);
  await capturable(context, { id }, doing);
  const { timeoutSeconds, deadlineMs } = request;
  const askedMs = timeoutSeconds === 0n ? maxCheckpointMs : Number(timeoutSeconds) * 1000;
  const leftMs = deadlineMs === undefined ? maxTimerMs : timeUntil(deadlineMs, context.clock);
  const container = context.store.get(id);
  using operation = context.operations.begin({
    name: "checkpoint-container",
    subject: id,
    timeoutMs: Math.min(askedMs, leftMs, maxTimerMs),
    log: context.log.with(containerSubject(container, context.sandboxes)),
  });
  using _caller = operation.follow(caller);
  const onStuck = (what: string, error: unknown): void => {
    operation.log.error(`a failed checkpoint was not removed: cannot ${what}`, { error });
  };
  await buildOrUndo(operation, onStuck, (undo) =>
    write(context, { ...request, id }, { operation, undo }),
  );
}

function checkRequest({ location, timeoutSeconds }: ContainerCheckpoint, doing: string): void {
  if (timeoutSeconds < 0n) {
    throw new RuntimeError(
      "invalid-argument",
      `${doing}: the timeout is ${String(timeoutSeconds)} s; set one above 0, or 0 for the default`,
    );
  }
  const isPath = location.startsWith("/") && !location.includes("\0");
  if (isPath && !location.endsWith("/")) return;
  throw new RuntimeError(
    "invalid-argument",
    `${doing}: location ${JSON.stringify(location)} is not the absolute path of a file`,
  );
}

async function write(
  context: ContainerContext,
  { id, location }: ContainerCheckpoint & { readonly id: string },
  { operation, undo }: { readonly operation: RunningOperation; readonly undo: Rollback },
): Promise<void> {
  const { files, outputs } = await context.checkpoints.open();
  await operation.enter("make-directory");
  const directory = await files.begin(id);
  const discard = (): Promise<void> => files.discard(directory);
  undo.defer("remove its directory", discard);
  await capture(context, id, directory, operation);
  await operation.enter("write-archive");
  await files.archive(directory, location, operation.signal);
  undo.defer("remove its file", () => outputs.removeFile(location));
  await operation.enter("answer");
  await discard();
}

/** Captures the container while it is paused. It runs again when this returns. */
async function capture(
  context: ContainerContext,
  id: string,
  directory: string,
  operation: RunningOperation,
): Promise<void> {
  using _turn = await context.locks.acquire(id, operation.signal);
  // Stop and Remove do not wait for the lock. They abort this operation.
  using _abortable = context.cancellable.add(id, operation);
  const { files } = await context.checkpoints.open();
  const found: Capturable = await capturable(context, { id }, `checkpoint container "${id}"`);
  await operation.enter("pause");
  await using paused = await PausedContainers.pause(context, [found.container], operation.signal);
  await captureMemory(found, { directory, closeTcp: true, paused }, operation);
  await captureFiles(files, found, directory, operation);
  await operation.enter("resume");
  await paused.resume();
}
