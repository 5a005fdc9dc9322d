import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";
import { checkpointFiles, type Checkpoints } from "../../core/checkpoint/index.ts";
import type { Container, ContainerCaptures } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import { type ContainerContext, runtimeOf } from "../container/context.ts";
import type { PausedContainers } from "./pause-all.ts";

/** The longest time of a checkpoint that has no other limit. Milliseconds. */
export const maxCheckpointMs = 600_000;

// The containers are to run again, and the files to be removed, before the caller gives up. CRIU may take 3 s to end.
const shareForUndo = 0.2;
const maxUndoMs = 4_000;

/** How long a checkpoint may take whose caller gives up at `deadlineMs`, in milliseconds since 1970. */
export function timeUntil(deadlineMs: number, clock: Pick<Clock, "nowMs">): number {
  const leftMs = Math.max(deadlineMs - clock.nowMs(), 0);
  return leftMs - Math.min(leftMs * shareForUndo, maxUndoMs);
}

/** A running container, and what captures it. */
export interface Capturable {
  readonly container: Container;
  readonly sandbox: Sandbox;
  readonly captures: ContainerCaptures;
  readonly spec: OciSpec;
}

/**
 * What captures a container. `failed-precondition` for one that does not run, `unimplemented` where its runtime
 * cannot do it. `doing` begins the error.
 */
export async function capturable(
  context: ContainerContext,
  { id }: Pick<Container, "id">,
  doing: string,
): Promise<Capturable> {
  const container = context.store.get(id);
  const { state, sandboxId } = container;
  if (state.name !== "running") {
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: container "${id}" is ${state.name}, not running`,
    );
  }
  const runtime = runtimeOf(context, container);
  const sandbox = context.sandboxes.get(sandboxId);
  const obstacle = runtime.captures.obstacle(sandbox.handler, "capture");
  if (obstacle !== undefined) throw new RuntimeError("unimplemented", `${doing}: ${obstacle}`);
  const spec = await runtime.spec(id);
  if (spec !== undefined) return { container, sandbox, captures: runtime.captures, spec };
  throw new RuntimeError(
    "failed-precondition",
    `${doing}: the spec that container "${id}" was started with is lost`,
  );
}

/** Captures the memory of a paused container into its new directory. */
export async function captureMemory(
  { container, captures }: Capturable,
  to: { readonly directory: string; readonly closeTcp: boolean; readonly paused: PausedContainers },
  operation: RunningOperation,
): Promise<void> {
  const { directory, closeTcp, paused } = to;
  await operation.enter("capture-memory", container.config.metadata?.name ?? "");
  const images = join(directory, checkpointFiles.images);
  const request = { images, work: directory, closeTcp, leaveRunning: true };
  await paused.capture(() => captures.capture(container.id, request, operation));
}

/** Captures the files of a paused container, after its memory. */
export async function captureFiles(
  files: Checkpoints,
  { container, sandbox, captures, spec }: Capturable,
  directory: string,
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("capture-files", container.config.metadata?.name ?? "");
  const runtimePath = captures.ociRuntimeOf(sandbox.handler);
  const earlierChanges = container.restore?.changes;
  const captured = { container, sandbox, spec, runtimePath, earlierChanges };
  await files.complete(directory, captured, operation);
}
