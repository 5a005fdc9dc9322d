import { messageOf, RuntimeError } from "../../../../base/errors.ts";
import { beforeAbort } from "../../../../base/wait.ts";
import type { AttachedClient } from "../../../../core/container/index.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import { feed, finish } from "../../../../stdio/pump.ts";
import { Sizes } from "../../../../stdio/sizes.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { tooSlow } from "../../../../stdio/attached-clients.ts";
import type { PodShim } from "../../process/pod-shims.ts";
import type { Tracked } from "../running-task.ts";

/** Joins a client to a container's streams; see ContainerRuntime.attach. */
export async function attachToTask(
  target: { readonly id: string; readonly kept: Tracked; readonly shim: PodShim },
  client: AttachedClient,
  operation: Operation,
): Promise<void> {
  const { id, kept, shim } = target;
  const { io } = kept;
  if (io === undefined) {
    const text = `attach to container "${id}": its streams were lost; see the log of davit`;
    throw new RuntimeError("failed-precondition", text);
  }
  const { stdin, stdout, stderr } = client.streams;
  await operation.enter("connect");
  using sizes = new Sizes(client.streams.sizes);
  const tell = (call: Promise<unknown>): void => {
    call.catch((error: unknown) => {
      operation.log.debug(`attach to container "${id}": ${messageOf(error)}`);
    });
  };
  if (client.terminal) {
    sizes.follow((size) => tell(shim.task.call(Task.method.resizePty, { id, ...size })));
  }
  const behind = Promise.withResolvers<never>();
  behind.promise.catch(() => undefined);
  using _output = io.clients.add(client.streams, () => behind.reject(tooSlow(id)));
  const once = client.stdin === "once";
  const endInput = (): void => {
    if (!once) return;
    io.endInput();
    // The shim holds it open, too, until it is told.
    tell(shim.task.call(Task.method.closeIO, { id, stdin: true }));
  };
  const input = client.stdin === "none" ? undefined : io.input(endInput);
  // What nobody reads the client need not hold back.
  if (input === undefined) stdin?.resume();
  const stop = feed(stdin, input);
  try {
    await operation.enter("wait-for-end");
    await beforeAbort(Promise.race([kept.exit, behind.promise]), operation.signal);
    await finish([stdout, stderr], operation.signal);
  } finally {
    stop();
    // A client that leaves has no more to type.
    if (stdin !== undefined && input !== undefined) endInput();
  }
}
