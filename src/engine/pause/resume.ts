import type { Container } from "../../core/container/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { adoptProcess } from "../container/adopt.ts";
import { type ContainerContext, runtimeOf } from "../container/context.ts";
import { pausedSince, recordPause } from "../container/paused.ts";
import { all, findTarget, lockRunning } from "./target.ts";

/**
 * Lets the processes of a container run on, or those of all paused containers of a pod; the result is the containers that
 * run. Idempotent. One that cannot be resumed does not affect the others; its error is thrown at the end.
 *
 * The record is written last: a container whose resume the end of the daemon interrupts may be paused again by the next
 * one, and the caller, who got no answer, repeats the call. `failed-precondition` if nothing is running.
 */
export async function resume(
  context: ContainerContext,
  request: { readonly id: string },
  caller: AbortSignal,
): Promise<readonly string[]> {
  const target = findTarget(context, request.id);
  const plan = {
    name: "resume",
    subject: target.id,
    timeoutMs: context.times.endMs,
    log: context.log.with(target.subject),
  } as const;
  return await context.operations.run(plan, async (operation) => {
    const waits = AbortSignal.any([operation.signal, caller]);
    using locked = await lockRunning(context, target, waits);
    await all(locked.running.map((container) => thaw(context, container, operation)));
    await operation.enter("answer");
    return locked.running.map(({ id }) => id);
  });
}

async function thaw(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
): Promise<void> {
  const { id, state } = container;
  if (state.name !== "running") return;
  const { freezer } = runtimeOf(context, container);
  await operation.enter("thaw", id);
  // The recovery may have failed to do so.
  await adoptProcess(context, container, state);
  // Also one that something else has frozen.
  if (pausedSince(container) === undefined && !(await freezer.isPaused(id))) return;
  await freezer.resume(id);
  await operation.enter("write-record", id);
  recordPause(context, id, undefined);
}
