import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Container, ContainerExit } from "../../core/container/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

export type ExitedState = Extract<Container["state"], { readonly name: "exited" }>;

/** Waits in the background for the exit of a running container's process and records it. */
export function watchContainer(context: ContainerContext, id: string): void {
  const runtime = runtimeOf(context, context.store.get(id));
  context.tasks.spawn(`wait for container "${id}"`, async (signal) => {
    recordExit(context, id, await runtime.wait(id, signal));
  });
}

/**
 * Makes the runtime adopt the process of a running container; does nothing when it already has. Never
 * fails with `not-found`, for example when the runtime is not installed any more: kubelet would
 * conclude that the container does not exist.
 */
export async function adoptProcess(
  context: ContainerContext,
  container: Container,
  running: Extract<Container["state"], { readonly name: "running" }>,
): Promise<void> {
  const { handler } = context.sandboxes.get(container.sandboxId);
  try {
    await runtimeOf(context, container).load(container.id, {
      runtimePath: handler.path ?? handler.name,
      process: running.process,
      monitor: running.monitor,
      cgroupPath: container.cgroupPath,
    });
  } catch (error) {
    if (!isKind(error, "not-found")) throw error;
    throw new RuntimeError("failed-precondition", messageOf(error), { cause: error });
  }
}

/** Changes a running container to exited. Does nothing in any other state. */
export function recordExit(context: ContainerContext, id: string, exit: ContainerExit): void {
  const container = context.store.peek(id);
  if (container?.state.name !== "running") return;
  const { startedAtNs } = container.state;
  const state = exitedState(startedAtNs, exit);
  context.store.update(id, (now) => ({ ...now, state }));
  logExit(context, container, state);
  context.failedTeardowns.ended(id);
}

/** Logs how a container ended. */
export function logExit(
  context: Pick<ContainerContext, "log" | "sandboxes">,
  container: Container,
  end: ExitedState,
): void {
  const { exitCode, reason, message, startedAtNs, finishedAtNs } = end;
  context.log.info("container ended", {
    ...containerSubject(container, context.sandboxes),
    exitCode,
    reason,
    ...(message === "" ? {} : { message }),
    ...(startedAtNs === 0n ? {} : { ranMs: Number((finishedAtNs - startedAtNs) / 1_000_000n) }),
  });
}

/** The state after `exit`, with the reasons that kubelet shows and acts on. */
function exitedState(startedAtNs: bigint, exit: ContainerExit): ExitedState {
  return {
    name: "exited",
    startedAtNs,
    finishedAtNs: exit.finishedAtNs,
    exitCode: exit.exitCode,
    reason: reasonOf(exit),
    message: exit.unknown ? "the exit status of its process is lost" : "",
  };
}

function reasonOf(exit: ContainerExit): string {
  if (exit.unknown) return "Unknown";
  // api.proto, ContainerStatus.reason: must be exactly this for a container out of memory.
  if (exit.oomKilled) return "OOMKilled";
  return exit.exitCode === 0 ? "Completed" : "Error";
}
