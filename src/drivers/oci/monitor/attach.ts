import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import type { Logger } from "../../../base/logger.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import type { AttachedClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { TerminalSize } from "../../../core/streaming/index.ts";
import type { DescriptorStream } from "../../../linux/stream/index.ts";
import { feed } from "../../../stdio/pump.ts";
import { TerminalSizes } from "../../../stdio/terminal-sizes.ts";
import { passOutput } from "../attached-socket.ts";
import type { AttachTarget } from "../container-monitor.ts";
import { connectMonitor, ControlConnection } from "./control.ts";

/** How long a monitor may take to serve a client; only one that hangs needs longer. */
const servedMs = 5_000;
const connecting = new KeyedLock();
/** How long after the monitor has closed a connection the end of the container may be noticed. */
const endMs = 1_000;

/** Attaches a client to a container's streams; see ContainerMonitor.attach. */
export async function attach(
  log: Logger,
  target: AttachTarget,
  client: AttachedClient,
  operation: Operation,
): Promise<void> {
  const { stdin, sizes: sent } = client.streams;
  const hasInput = client.stdin !== "none" && stdin !== undefined;
  await operation.enter("connect");
  const socket = await connect(target, hasInput ? "i" : "o", operation.signal);
  if (socket === undefined) return;
  using sizes = new TerminalSizes(sent);
  using resizer = new Resizer(target, log);
  if (client.terminal) {
    sizes.follow((size) => resizer.set(size));
  }
  const stop = feed(stdin, hasInput ? socket : undefined);
  try {
    await passOutput(socket, target, client.streams, operation);
    if (!(await within(target.processEnded, endMs))) throw cutOff(target);
  } finally {
    stop();
    socket.destroy();
  }
}

/**
 * Resolves when the monitor serves those who have connected, or has ended. It takes connections in their order, one in each
 * turn of its loop, so it knows an earlier client when it answers a later one.
 */
async function served({ paths, id }: AttachTarget): Promise<void> {
  using connection = new ControlConnection(paths, id);
  await connection.request("stat");
}

/**
 * A connection that the monitor serves. Undefined when the container has just ended, and its monitor with it. Clients that
 * connect at the same time wait for each other, so that the question takes one of the monitor's places and not one each.
 */
async function connect(
  target: AttachTarget,
  purpose: "i" | "o",
  signal: AbortSignal,
): Promise<DescriptorStream | undefined> {
  using _turn = await connecting.acquire(target.id, signal);
  let socket: DescriptorStream | undefined;
  try {
    socket = connectMonitor(target.paths, target.id, purpose);
    await beforeAbort(within(served(target), servedMs), signal);
    return socket;
  } catch (cause) {
    socket?.destroy();
    const isGone = ["ECONNREFUSED", "ENOENT"].includes(errnoCode(cause) ?? "");
    if (isGone && (await within(target.processEnded, endMs))) return undefined;
    throw cause;
  }
}

function cutOff({ id }: AttachTarget): RuntimeError {
  return new RuntimeError(
    "unavailable",
    `attach to container "${id}": davit-monitor has closed the connection, and the container runs on; ` +
      "it serves 28 clients at most, and none that davit does not read for 2 s; attach again, or read its log",
  );
}

/** Gives a terminal the sizes of a client's. It connects with the first one. */
class Resizer implements Disposable {
  readonly #target: AttachTarget;
  readonly #log: Logger;
  #connection: ControlConnection | undefined;

  constructor(target: AttachTarget, log: Logger) {
    this.#target = target;
    this.#log = log;
  }

  /** Never rejects. */
  async set({ width, height }: TerminalSize): Promise<void> {
    const { id, paths } = this.#target;
    try {
      this.#connection ??= new ControlConnection(paths, id);
      const answer = await this.#connection.request(`size ${height} ${width}`);
      if (answer !== "ok") throw new Error(answer ?? "the monitor has closed the connection");
    } catch (error) {
      this.#log.debug(`failed to resize terminal of container "${id}": ${messageOf(error)}`);
      this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
  }
}
