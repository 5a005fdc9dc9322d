import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { within } from "../../../base/wait.ts";
import type { AttachedClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { TerminalSize } from "../../../core/streaming/index.ts";
import { connectPackets, type DescriptorStream } from "../../../linux/stream/index.ts";
import { AttachedClients, untilAttachEnds } from "../../../stdio/attached-clients.ts";
import type { LogStream } from "../../../stdio/cri-log-lines.ts";
import { feed } from "../../../stdio/pump.ts";
import { TerminalSizes } from "../../../stdio/terminal-sizes.ts";
import { lockControlFifo, sendToMonitor } from "./control-fifo.ts";

/** conmon reads up to 32 KiB at once (CONN_SOCK_BUF_SIZE) and drops the rest of a packet. */
const packetBytes = 8 * 1024;
/** The first byte of a packet from conmon says which stream the rest is from. */
const streamOfByte: ReadonlyMap<number | undefined, LogStream> = new Map([
  [2, "stdout"],
  [3, "stderr"],
]);
/** How long conmon may take to send the last output after the container's end. */
const drainMs = 1_000;
const betweenSizesMs = 50;
/** conmon refuses a larger width or height. */
const maxSide = 1_000;

/** A container to attach to. */
export interface AttachTarget {
  readonly id: string;
  /** conmon's socket and its control fifo. */
  readonly socket: string;
  readonly control: string;
  readonly ended: Promise<unknown>;
}

/**
 * Connections to conmons that are kept open without a client.
 *
 * NOTE(conmon): unless it was told to leave stdin open, it closes stdin as soon as any connection ends,
 * even one of a client that only reads. So the connection of such a client stays open when the client leaves, and
 * the next client that only reads uses it.
 */
export class IdleAttachments {
  /** Each connection with its listener for the end. */
  readonly #idle = new Map<string, Map<DescriptorStream, () => void>>();

  take(id: string): DescriptorStream | undefined {
    const [idle] = this.#idle.get(id) ?? [];
    if (idle === undefined) return undefined;
    const [socket, onEnd] = idle;
    socket.off("end", onEnd).off("close", onEnd);
    this.#forget(id, socket);
    return socket;
  }

  put(id: string, socket: DescriptorStream): void {
    const sockets = this.#idle.get(id) ?? new Map<DescriptorStream, () => void>();
    const onEnd = (): void => {
      this.#forget(id, socket);
      socket.destroy();
    };
    this.#idle.set(id, sockets.set(socket, onEnd));
    socket.on("end", onEnd).on("close", onEnd);
    socket.resume();
  }

  close(): void {
    for (const sockets of this.#idle.values())
      for (const socket of sockets.keys()) socket.destroy();
  }

  #forget(id: string, socket: DescriptorStream): void {
    const sockets = this.#idle.get(id);
    sockets?.delete(socket);
    if (sockets?.size === 0) this.#idle.delete(id);
  }
}

/** Attaches a client to a container's streams; see ContainerRuntime.attach. */
export async function attach(
  deps: { readonly idle: IdleAttachments; readonly log: Logger },
  target: AttachTarget,
  client: AttachedClient,
  operation: Operation,
): Promise<void> {
  const { stdin, sizes: sent } = client.streams;
  const mayIdle = client.stdin === "once" && stdin === undefined;
  await operation.enter("connect");
  const idle = mayIdle ? deps.idle.take(target.id) : undefined;
  const socket = idle ?? connect(target);
  using sizes = new TerminalSizes(sent);
  if (client.terminal) sizes.follow(resizer(target, deps.log));
  const stop = feed(stdin, client.stdin === "none" ? undefined : socket);
  const clients = new AttachedClients(target.id);
  using attached = clients.add(client.streams);
  const onPacket = (packet: Buffer): void => {
    const name = streamOfByte.get(packet[0]);
    if (name !== undefined) clients.write(name, packet.subarray(1));
  };
  socket.on("data", onPacket);
  using watch = new CloseWatch(socket);
  try {
    await untilAttachEnds(attached, endOf(watch.closed, target.ended), operation);
  } finally {
    stop();
    socket.off("data", onPacket);
    if (mayIdle && !socket.destroyed && !socket.readableEnded) deps.idle.put(target.id, socket);
    else socket.destroy();
  }
}

/** A connection that fails is closed; the error adds nothing to that. */
function connect(target: AttachTarget): DescriptorStream {
  return connectPackets(target.socket, packetBytes).on("error", () => undefined);
}

/** Watches whether conmon has closed a connection, until disposed of. */
class CloseWatch implements Disposable {
  readonly closed: Promise<undefined>;
  readonly #socket: DescriptorStream;
  readonly #onClosed: () => void;

  constructor(socket: DescriptorStream) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.closed = promise;
    this.#socket = socket;
    this.#onClosed = () => {
      resolve(undefined);
    };
    socket.on("end", this.#onClosed).on("close", this.#onClosed);
    if (socket.destroyed || socket.readableEnded) resolve(undefined);
  }

  [Symbol.dispose](): void {
    this.#socket.off("end", this.#onClosed).off("close", this.#onClosed);
  }
}

/** conmon ends with its container and closes the connection, unless it hangs. */
async function endOf(closed: Promise<unknown>, ended: Promise<unknown>): Promise<void> {
  await Promise.race([closed, ended]);
  await within(closed, drainMs);
}

/**
 * Sends conmon the latest size.
 *
 * There is a pause between two messages (see lockControlFifo()), and the last one is sent twice, as one may be lost.
 */
function resizer(target: AttachTarget, log: Logger): (size: TerminalSize) => void {
  let latest: TerminalSize | undefined;
  let busy = false;
  const send = async (size: TerminalSize): Promise<void> => {
    const [height, width] = [size.height, size.width].map((side) => Math.min(side, maxSide));
    using _lock = await lockControlFifo(target.control);
    try {
      await sendToMonitor(target.control, `1 ${height} ${width}\n`);
    } catch (error) {
      log.debug(`failed to resize terminal of container "${target.id}": ${messageOf(error)}`);
    }
    await delay(betweenSizesMs);
  };
  const run = async (first: TerminalSize): Promise<void> => {
    busy = true;
    let size = first;
    for (let left = 2; left > 0; left--) {
      await send(size);
      if (latest === undefined || latest === size) continue;
      size = latest;
      left = 3;
    }
    busy = false;
  };
  return (size) => {
    latest = size;
    if (!busy) void run(size);
  };
}
