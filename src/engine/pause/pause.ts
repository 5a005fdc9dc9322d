import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import { Rollback } from "../../base/rollback.ts";
import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { adoptProcess } from "../container/adopt.ts";
import { type ContainerContext, runtimeOf } from "../container/context.ts";
import { pausedSince, recordPause } from "../container/paused.ts";
import { all, findTarget, lockRunning } from "./target.ts";

/** What a pause did. */
interface Paused {
  /** The containers that are paused now, also those that were. */
  readonly containerIds: readonly string[];
  /** How many bytes fewer they use. */
  readonly reclaimedBytes: bigint;
}

/**
 * Freezes all processes of a container, or of all running containers of a pod. If one of them cannot be paused, none is,
 * except those that were paused before. Idempotent. A container that is started afterwards runs.
 *
 * The record is written first: what a client asked for stays when the daemon ends in between, as the next one pauses the
 * container again. A caller that leaves before the answer undoes it. `failed-precondition` if nothing is running, and for
 * `reclaimMemory` where the node cannot do that.
 */
export async function pause(
  context: ContainerContext,
  request: { readonly id: string; readonly reclaimMemory: boolean },
  caller: AbortSignal,
): Promise<Paused> {
  const target = findTarget(context, request.id);
  const plan = {
    name: "pause",
    subject: target.id,
    // Swap is slow.
    timeoutMs: request.reclaimMemory ? context.times.createMs : context.times.endMs,
    log: context.log.with(target.subject),
  } as const;
  return await context.operations.run(plan, async (operation) => {
    using _caller = operation.follow(caller);
    using locked = await lockRunning(context, target, operation.signal);
    const { running } = locked;
    using abortable = new DisposableStack();
    for (const { id } of running) abortable.use(context.cancellable.add(id, operation));
    await using undo = rollbackOf(operation);
    undo.defer("resume its containers", () => resumeAll(context, running));
    for (const container of running) await record(context, container, operation);
    const mayEnd = target.kind === "pod";
    const frozen = await all(
      running.map((container) => freeze(context, container, operation, mayEnd)),
    );
    const paused = running.filter((_container, at) => frozen[at]);
    if (paused.length === 0) {
      throw new RuntimeError("failed-precondition", "all containers of the pod have ended");
    }
    const reclaimedBytes = request.reclaimMemory ? await reclaim(context, paused, operation) : 0n;
    await operation.enter("answer");
    undo.commit();
    return { containerIds: paused.map(({ id }) => id), reclaimedBytes };
  });
}

function rollbackOf({ log }: RunningOperation): Rollback {
  return new Rollback({
    onRetry: (what, error) => {
      log.warn(`cannot ${what}`, { error: messageOf(error) });
    },
    onStuck: (what, error) => {
      log.error(`a failed pause was not undone: cannot ${what}; use "davit resume"`, { error });
    },
  });
}

/** Lets those run on that were not paused before. One that cannot be resumed does not affect the others. */
async function resumeAll(
  context: ContainerContext,
  containers: readonly Container[],
): Promise<void> {
  const resumes = containers.map(async (container) => {
    if (pausedSince(container) !== undefined) return;
    await runtimeOf(context, container).freezer.resume(container.id);
    recordPause(context, container.id, undefined);
  });
  await all(resumes);
}

/** Records that a container is paused, unless that is recorded already. */
async function record(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
): Promise<void> {
  const { id, state } = container;
  await operation.enter("write-record", id);
  // The recovery may have failed to do so.
  if (state.name === "running") await adoptProcess(context, container, state);
  if (pausedSince(container) === undefined) recordPause(context, id, context.clock.nowNs());
}

/**
 * Freezes a container, also one that is recorded as paused: something else may have thawed it. False for one that has
 * just ended, if it may.
 */
async function freeze(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
  mayEnd: boolean,
): Promise<boolean> {
  const { id } = container;
  await operation.enter("freeze", id);
  try {
    await runtimeOf(context, container).freezer.pause(id, operation.signal);
    return true;
  } catch (error) {
    if (!mayEnd || !isKind(error, "failed-precondition")) throw error;
    recordPause(context, id, undefined);
    return false;
  }
}

/** How many bytes fewer the containers use together. */
async function reclaim(
  context: ContainerContext,
  containers: readonly Container[],
  operation: RunningOperation,
): Promise<bigint> {
  let bytes = 0n;
  for (const container of containers) {
    await operation.enter("reclaim-memory", container.id);
    const { freezer } = runtimeOf(context, container);
    bytes += await freezer.reclaimMemory(container.id, operation.signal);
  }
  return bytes;
}
