import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

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
