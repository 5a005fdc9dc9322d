import { RuntimeError, wrap } from "../../base/errors.ts";
import type { Snapshot } from "../../core/checkpoint/index.ts";
import type { SnapshotContext } from "./context.ts";

/** Which pod a snapshot is of. */
export interface SnapshotRequest {
  /** An id, or a unique prefix of one. */
  readonly sandboxId: string;
  /** As in CaptureRequest. */
  readonly closeTcp: boolean;
}

/**
 * Makes a snapshot of the containers of a pod that run, which run on. `not-found` for an unknown pod,
 * `failed-precondition` for one without a running container; other errors are those of a checkpoint. A failure
 * leaves nothing on the disk.
 */
export async function takeSnapshot(
  context: SnapshotContext,
  request: SnapshotRequest,
  signal: AbortSignal,
): Promise<Snapshot> {
  const sandbox = context.sandboxes.resolve(request.sandboxId);
  const doing = `take a snapshot of pod "${sandbox.id}"`;
  const running = [...context.containers.listedOf(sandbox.id)].filter(
    ({ state }) => state.name === "running",
  );
  if (running.length === 0) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: none of its containers runs; start one first`,
    );
  }
  try {
    await using draft = await context.snapshots.begin();
    const { closeTcp } = request;
    const containerIds = running.map(({ id }) => id);
    const { directory } = draft;
    await context.capture({ sandboxId: sandbox.id, containerIds, directory, closeTcp }, signal);
    signal.throwIfAborted();
    return await draft.publish();
  } catch (error) {
    throw wrap(doing, error);
  }
}
