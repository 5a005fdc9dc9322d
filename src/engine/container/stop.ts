import { setTimeout as sleep } from "node:timers/promises";
import { wrap } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { maxTimerMs } from "../../base/time.ts";
import type { Container, ContainerRuntime } from "../../core/container/index.ts";
import { parseSignal } from "../../oci-spec/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { adoptProcess } from "./adopt.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";
import { recordPause } from "./paused.ts";
import { recordExit } from "./watch.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

// How long a stop waits for a start that it has aborted.
const giveUpMs = 5_000;
// SIGTERM, signal(7). Applies only when the stop signal in a damaged record is invalid.
const defaultSignal = 15;

/**
 * Stops a container: sends its stop signal, waits `timeoutSeconds`, then kills every process in it.
 * A second stop with a shorter grace period shortens that of the first. A paused container is resumed for its grace
 * period, and killed while it is paused without one.
 *
 * Idempotent: not an error when the container does not exist or is not running (api.proto,
 * StopContainer). A caller that disconnects ends only its own wait.
 */
export async function stopContainer(
  context: ContainerContext,
  idOrPrefix: string,
  timeoutSeconds: bigint,
  caller: AbortSignal,
): Promise<void> {
  const id = context.store.find(idOrPrefix)?.id;
  if (id === undefined) return;
  // Pods with a grace period of a year exist. A timer with a longer delay than maxTimerMs fires at once.
  const graceMs = Math.min(Number(timeoutSeconds) * 1000, maxTimerMs);
  await beforeAbort(stopById(context, id, graceMs), caller);
}

/**
 * Stops a container by its full id, and waits until the plugins know. The verbose Status shows a failure.
 */
export async function stopById(
  context: ContainerContext,
  id: string,
  graceMs: number,
): Promise<void> {
  await context.failedTeardowns.track(id, () => endById(context, id, graceMs));
  await context.plugins?.endTold(id);
}

/** Like {@link stopById}, as part of a removal: the removal records a failure itself. */
export async function endById(
  context: ContainerContext,
  id: string,
  graceMs: number,
): Promise<void> {
  context.cancellable.abort(id, "stopped");
  await waitForAbortedStart(context, id);
  const container = context.store.peek(id);
  if (container?.state.name !== "running") return;
  await context.operations.run(
    {
      name: "stop-container",
      subject: id,
      timeoutMs: Math.max(graceMs, 0) + context.times.endMs,
      log: context.log.with(containerSubject(container, context.sandboxes)),
    },
    (operation) => end(context, container, graceMs, operation),
  );
}

async function waitForAbortedStart(
  context: Pick<ContainerContext, "locks">,
  id: string,
): Promise<void> {
  if (!context.locks.isHeld(id)) return;
  try {
    using _turn = await context.locks.acquire(id, AbortSignal.timeout(giveUpMs));
  } catch {
    // It is still running. Its signal is aborted, so it removes whatever it creates from now on.
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
  // The recovery may have failed to do so.
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

/** Sends the stop signal; true when the process exits within the grace period. */
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
  // The runtime has resumed it, so that it handles the signal.
  recordPause(context, id, undefined);
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

/** Waits until the exit of the process is recorded, so that the next status shows it. */
async function untilExited(
  context: ContainerContext,
  runtime: ContainerRuntime,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  recordExit(context, id, await runtime.wait(id, signal));
}
