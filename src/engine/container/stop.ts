import { setTimeout as sleep } from "node:timers/promises";
import { wrap } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { maxTimerMs } from "../../base/time.ts";
import type { Container, ContainerRuntime } from "../../core/container/index.ts";
import { parseSignal } from "../../oci-spec/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { recordExit, adoptProcess } from "./watch.ts";

// A start that was told to give up must have by then.
const giveUpMs = 5_000;
// SIGTERM, signal(7): the record holds nothing else unless it was damaged.
const defaultSignal = 15;

/**
 * Stops a container: its stop signal, `timeoutSeconds` of grace, then SIGKILL to everything in it.
 * A second stop with a shorter grace shortens the first one's.
 *
 * Idempotent: no error when it is gone or not running (api.proto, StopContainer). A caller that
 * goes away ends only its own wait.
 */
export async function stopContainer(
  context: ContainerContext,
  idOrPrefix: string,
  timeoutSeconds: bigint,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id === undefined) return;
  // Pods with a year of grace exist: more than a timer takes, which would then end it at once.
  const graceMs = Math.min(Number(timeoutSeconds) * 1000, maxTimerMs);
  await beforeAbort(stopById(context, id, graceMs), caller);
}

/** The stop itself, by full id; a failure is kept for the verbose Status. */
export function stopById(context: ContainerContext, id: string, graceMs: number): Promise<void> {
  return context.failedEnds.track(id, () => endById(context, id, graceMs));
}

/** Like {@link stopById}, as a part of a removal, under its own clock. */
export async function endById(
  context: ContainerContext,
  id: string,
  graceMs: number,
): Promise<void> {
  context.starting.abort(id, "stopped");
  await leaveTimeToGiveUp(context, id);
  const container = context.store.peek(id);
  if (container?.state.name !== "running") return;
  await context.operations.run(
    {
      name: "stop-container",
      subject: id,
      timeoutMs: Math.max(graceMs, 0) + context.times.endMs,
      log: context.log.with({ container: id }),
    },
    (operation) => end(context, container, graceMs, operation),
  );
}

async function leaveTimeToGiveUp(context: ContainerContext, id: string): Promise<void> {
  if (!context.locks.isHeld(id)) return;
  try {
    using _turn = await context.locks.acquire(id, AbortSignal.timeout(giveUpMs));
  } catch {
    // It did not: what it makes from here on it removes itself, since its signal is aborted.
  }
}

async function end(
  context: ContainerContext,
  container: Container,
  graceMs: number,
  operation: RunningOperation,
): Promise<void> {
  const { id, state } = container;
  const runtime = runtimeOf(context, container);
  // The recovery may not have been able to.
  if (state.name === "running") await adoptProcess(context, container, state);
  const ended = graceMs > 0 && (await endGently(context, container, graceMs, operation));
  if (!ended) {
    await operation.enter("kill-all");
    await runtime.killAll(id);
    await operation.enter("wait-for-exit");
    await untilExited(context, runtime, id, operation.signal);
  }
  await operation.enter("answer");
}

/** Sends the stop signal; true when the process has ended within its grace. */
async function endGently(
  context: ContainerContext,
  container: Container,
  graceMs: number,
  operation: RunningOperation,
): Promise<boolean> {
  const { id } = container;
  const runtime = runtimeOf(context, container);
  await operation.enter("send-signal");
  await runtime.kill(id, parseSignal(container.stopSignal)?.number ?? defaultSignal);
  await operation.enter("wait-for-end");
  return endsWithin(context, runtime, id, graceMs, operation.signal);
}

async function endsWithin(
  context: ContainerContext,
  runtime: ContainerRuntime,
  id: string,
  graceMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const over = new AbortController();
  const grace = sleep(graceMs, false, { signal: over.signal, ref: false }).catch(() => false);
  const ended = untilExited(context, runtime, id, AbortSignal.any([signal, over.signal])).then(
    () => true,
  );
  ended.catch(() => undefined);
  try {
    return await Promise.race([ended, grace]);
  } finally {
    over.abort(wrap("wait for the end", "the grace period is over"));
  }
}

/** Waits until the end of the process is on record, so that whoever asks next sees it. */
async function untilExited(
  context: ContainerContext,
  runtime: ContainerRuntime,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  recordExit(context, id, await runtime.wait(id, signal));
}
