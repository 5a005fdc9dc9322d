import { messageOf, RuntimeError } from "../../../../base/errors.ts";
import type { AttachedClient } from "../../../../core/container/index.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { tellAttached, untilAttachEnds } from "../../../../stdio/attached-clients.ts";
import { feed } from "../../../../stdio/pump.ts";
import { TerminalSizes } from "../../../../stdio/terminal-sizes.ts";
import type { PodShim } from "../../process/pod-shims.ts";
import type { TrackedTask } from "../tracked-task.ts";

/** Attaches a client to a container's streams; see ContainerRuntime.attach. */
export async function attachToTask(
  target: { readonly task: TrackedTask; readonly shim: PodShim },
  client: AttachedClient,
  operation: Operation,
): Promise<void> {
  const { task, shim } = target;
  const { id, io } = task;
  if (io === undefined) {
    const text = `attach to container "${id}": its streams are lost; see the log of davit`;
    throw new RuntimeError("failed-precondition", text);
  }
  const { stdin } = client.streams;
  await operation.enter("connect");
  using sizes = new TerminalSizes(client.streams.sizes);
  const logFailure = async (call: Promise<unknown>): Promise<void> => {
    await call.catch((error: unknown) => {
      operation.log.debug(`attach to container "${id}": ${messageOf(error)}`);
    });
  };
  if (client.terminal) {
    sizes.follow((size) => logFailure(shim.task.call(Task.method.resizePty, { id, ...size })));
  }
  await tellAttached(client.streams, operation);
  using attached = io.clients.add(client.streams);
  const once = client.stdin === "once";
  const endInput = (): void => {
    if (!once) return;
    io.endInput();
    // The shim has the stdin open, too, until CloseIO.
    void logFailure(shim.task.call(Task.method.closeIO, { id, stdin: true }));
  };
  const input = client.stdin === "none" ? undefined : io.input(endInput);
  const stop = feed(stdin, input);
  try {
    await untilAttachEnds(attached, task.exit, operation);
  } finally {
    stop();
    // The input of a client that leaves has ended.
    if (stdin !== undefined && input !== undefined) endInput();
  }
}
