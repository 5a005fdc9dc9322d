import { RuntimeError } from "../../base/errors.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

/**
 * Reopens the container's log at its path after kubelet has rotated the old file. After an error no
 * new file exists (api.proto, ReopenContainerLog).
 */
export async function reopenContainerLog(
  context: ContainerContext,
  idOrPrefix: string,
): Promise<void> {
  const container = context.store.resolve(idOrPrefix);
  if (container.state.name !== "running") {
    throw new RuntimeError(
      "failed-precondition",
      `reopen log of container "${container.id}": it is ${container.state.name}, not running`,
    );
  }
  if (!container.hasLog) return;
  await runtimeOf(context, container).reopenLog(container.id, container.logPath);
  await context.logs.rotated(container.logPath);
}
