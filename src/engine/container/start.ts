import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import { askPlugins, holdPlugins, tellPlugins } from "../plugins/index.ts";
import { type ContainerContext, runtimeOf, specSubject } from "./context.ts";
import { ofPlugins } from "./of-plugins.ts";
import { discardLater, restoreSource } from "./restore-source.ts";
import { tellEnd } from "./tell-end.ts";
import { verifyImagesAgain } from "./verify-images.ts";
import { watchContainer } from "./watch.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

// The exit code of a failed start, as with containerd.
const startErrorCode = 128;
// A restore is undone in the rest of the time: CRIU may take 3 s to end, and a shim 2 s to answer.
const restoreUndoMs = 5_000;

/**
 * Starts a created container; one that was restored continues from its checkpoint. After a failure it is exited, with
 * reason StartError, code 128 and the error of the call as its message; everything that the start made is removed. A
 * plugin that refuses it fails it. A start that the end of the daemon interrupts leaves it created, as a crash does.
 *
 * `failed-precondition` when it is not in state created, or its sandbox is not ready.
 */
export async function startContainer(
  context: ContainerContext,
  idOrPrefix: string,
  caller: AbortSignal,
): Promise<void> {
  const { id } = context.store.resolve(idOrPrefix);
  using _hold = await holdPlugins(context, caller);
  using _turn = await context.locks.acquire(id, caller);
  const container = context.store.get(id);
  checkCanStart(context, container);
  context.prewarmCgroupMigration();
  using operation = context.operations.begin({
    name: "start-container",
    subject: id,
    timeoutMs: timeoutOf(context, container),
    log: context.log.with(containerSubject(container, context.sandboxes)),
  });
  // Stop and Remove do not wait for the lock. They abort this operation.
  using _abortable = context.cancellable.add(id, operation);
  try {
    await start(context, container, operation);
  } catch (error) {
    const explained = operation.explain(error);
    // At the end of the daemon it stays created: nothing is wrong with it, and a client may start it again.
    if (!context.operations.isOver) failStart(context, id, explained.message);
    throw explained;
  }
}

/** How long a start may take: one that restores gives up before its time is over, so that its caller gets the error. */
function timeoutOf(context: ContainerContext, { sandboxId, restore }: Container): number {
  const { handler } = context.sandboxes.get(sandboxId);
  const timeoutMs = context.createMsOf?.(handler) ?? context.times.startMs;
  return restore === undefined ? timeoutMs : Math.max(timeoutMs - restoreUndoMs, timeoutMs / 2);
}

function checkCanStart(context: ContainerContext, container: Container): void {
  const { id, state, sandboxId } = container;
  if (state.name !== "created") {
    throw new RuntimeError(
      "failed-precondition",
      `start container "${id}": it is ${state.name}, not created`,
    );
  }
  if (context.sandboxes.get(sandboxId).state.name !== "ready") {
    throw new RuntimeError(
      "failed-precondition",
      `start container "${id}": its sandbox "${sandboxId}" is not ready; run a new sandbox and create the container there`,
    );
  }
}

async function start(
  context: ContainerContext,
  container: Container,
  operation: RunningOperation,
): Promise<void> {
  const { id, config } = container;
  const sandbox = context.sandboxes.get(container.sandboxId);
  const runtime = runtimeOf(context, container);
  await verifyImagesAgain(context, container, operation);
  await operation.enter("build-spec");
  const spec = await context.specs.build(specSubject(context, container));
  const started = await runtime.start(
    {
      id,
      sandboxId: sandbox.id,
      handler: sandbox.handler,
      runtimePath: sandbox.handler.path ?? sandbox.handler.name,
      spec,
      logPath: container.hasLog ? container.logPath : undefined,
      cgroupPath: container.cgroupPath,
      terminal: config.tty,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      ...(container.restore && { restore: restoreSource(container.restore, sandbox) }),
      ...(context.plugins?.active === true && {
        beforeCommand: (pid) => tellStart(context, container, { spec, pid }, operation),
      }),
    },
    operation,
  );
  let running: Container;
  try {
    await operation.enter("finish-record");
    running = context.store.update(id, (now) => ({
      ...now,
      state: { name: "running", ...started },
    }));
  } catch (error) {
    await runtime.remove(id);
    throw error;
  }
  watchContainer(context, id);
  if (container.restore !== undefined) discardLater(context, running);
  await tellPlugins(context, operation, "PostStartContainer", async (plugins, signal) => {
    const of = ofPlugins(context, running, { spec });
    if (of !== undefined) await plugins.postStartContainer(of, signal);
  });
  await operation.enter("answer");
}

/** Tells the plugins, before the command runs. Rejects when one refuses the start. */
async function tellStart(
  context: ContainerContext,
  container: Container,
  known: { readonly spec: OciSpec; readonly pid: number },
  operation: RunningOperation,
): Promise<void> {
  const of = ofPlugins(context, container, known);
  if (of === undefined) return;
  await askPlugins(context, operation, (plugins, signal) => plugins.startContainer(of, signal));
}

function failStart(context: ContainerContext, id: string, message: string): void {
  // A container that was recorded as running exits like any other.
  if (context.store.peek(id)?.state.name !== "created") return;
  try {
    const failed = context.store.update(id, (now) => ({
      ...now,
      state: {
        name: "exited",
        startedAtNs: 0n,
        finishedAtNs: context.clock.nowNs(),
        exitCode: startErrorCode,
        reason: "StartError",
        message,
      },
    }));
    tellEnd(context, failed);
  } catch (error) {
    context.log.error("failed to record a failed start", {
      container: id,
      error: messageOf(error),
    });
  }
}
