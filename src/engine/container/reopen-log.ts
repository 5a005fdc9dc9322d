import { RuntimeError } from "../../base/errors.ts";
import { containerSubject } from "../lifecycle/subjects.ts";
import { type ContainerContext, runtimeOf } from "./context.ts";

/** Only for injected faults: a monitor has less time than this to answer. Milliseconds. */
const reopenMs = 60_000;

/**
 * Reopens the container's log at its path after kubelet has rotated the old file. After an error no
 * new file is there (api.proto, ReopenContainerLog).
 */
export async function reopenContainerLog(
  context: ContainerContext,
  idOrPrefix: string,
): Promise<void> {
  const container = context.store.resolve(idOrPrefix);
  const { id, sandboxId, logPath } = container;
  if (container.state.name !== "running") {
    throw new RuntimeError(
      "failed-precondition",
      `reopen log of container "${id}": it is ${container.state.name}, not running`,
    );
  }
  if (!container.hasLog) return;
  const log = context.log.with({ container: id, sandbox: sandboxId });
  await context.operations.run(
    { name: "reopen-log", subject: id, timeoutMs: reopenMs, log },
    (operation) => runtimeOf(context, container).reopenLog(id, logPath, operation),
  );
  await context.logs.rotated(logPath);
}

/**
 * Completes, in the background, the rotations of logs in which the last daemon died. To be called when calls are about
 * to be answered: kubelet gives the old file its name back when a call fails, and must not replace a new one by that.
 */
export function completeRotations(context: ContainerContext): void {
  for (const container of context.store.listed()) {
    const { id, logPath } = container;
    if (container.state.name !== "running" || !container.hasLog) continue;
    context.tasks.spawn(`complete the rotation of the log of container "${id}"`, async () => {
      if (!(await runtimeOf(context, container).completeRotation(id))) return;
      const subject = containerSubject(container, context.sandboxes);
      context.log.info("completed a rotation in which the last daemon ended", subject);
      await context.logs.rotated(logPath);
    });
  }
}
