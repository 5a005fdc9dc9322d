import { messageOf, RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Container } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

/** How long a new daemon tries to pause a container again, and to find out whether it runs. Milliseconds. */
const pauseAgainMs = 3_000;
const lookMs = 1_000;

/** Since when a container is paused, in nanoseconds since 1970; undefined for one that is not. */
export function pausedSince({ state }: Pick<Container, "state">): bigint | undefined {
  return state.name === "running" ? state.pausedAtNs : undefined;
}

/**
 * Throws `failed-precondition` for a paused container, in which a command would only end at its timeout, and for one
 * that is captured for a checkpoint, whose image must not have a process that comes in between.
 *
 * NOTE(kubelet): it does not count a probe that could not be run (pkg/kubelet/prober/worker.go, doProbe), but it counts
 * one that timed out, and restarts the container. So a container with such a probe stays paused.
 */
export function checkNotPaused(
  { captured }: Pick<ContainerContext, "captured">,
  container: Container,
  doing: string,
): void {
  const { id } = container;
  if (captured.has(id)) {
    throw new RuntimeError(
      "failed-precondition",
      `${doing} container "${id}": a checkpoint of it is being made; try again in a few seconds`,
    );
  }
  if (pausedSince(container) === undefined) return;
  throw new RuntimeError(
    "failed-precondition",
    `${doing} container "${id}": it is paused; resume it with "davit resume ${id}"`,
  );
}

/** Records since when a running container is paused, or with undefined that it runs. Does nothing for any other. */
export function recordPause(
  { store }: Pick<ContainerContext, "store">,
  id: string,
  pausedAtNs: bigint | undefined,
): void {
  const container = store.peek(id);
  if (container === undefined || pausedSince(container) === pausedAtNs) return;
  store.update(id, (now) => {
    if (now.state.name !== "running") return now;
    const { pausedAtNs: _, ...running } = now.state;
    return { ...now, state: pausedAtNs === undefined ? running : { ...running, pausedAtNs } };
  });
}

/**
 * Pauses a container again that is recorded as paused: the previous daemon may have ended between the two. One that
 * cannot be paused runs on, and is recorded so. Of one whose runtime does not answer, the record stays. Never rejects.
 */
export async function pauseAgain(context: ContainerContext, id: string): Promise<void> {
  const container = context.store.peek(id);
  if (container === undefined || pausedSince(container) === undefined) return;
  const { freezer } = runtimeOf(context, container);
  const isPaused = (ms: number): Promise<boolean> =>
    beforeAbort(freezer.isPaused(id), AbortSignal.timeout(ms));
  try {
    if (await isPaused(lookMs)) return;
    await freezer.pause(id, AbortSignal.timeout(pauseAgainMs));
  } catch (error) {
    const runs = !(await isPaused(lookMs).catch(() => true));
    const message = runs ? "it runs" : "it may run";
    context.log.warn(`failed to pause a container again; ${message}`, {
      ...containerSubject(container, context.sandboxes),
      error: messageOf(error),
    });
    if (runs) recordPause(context, id, undefined);
  }
}
