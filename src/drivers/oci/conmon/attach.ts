import type { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort } from "../../../base/wait.ts";
import type { AttachedClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { type TerminalSize } from "../../../core/streaming/index.ts";
import { feed, finish } from "../../../stdio/pump.ts";
import { Sizes } from "../../../stdio/sizes.ts";
import { connectPackets, type DescriptorStream } from "../../../linux/stream/index.ts";
import { within } from "../container-end.ts";
import { controlTurn, tellMonitor } from "./control-fifo.ts";

/** conmon reads up to 32 KiB at once (CONN_SOCK_BUF_SIZE) and drops the rest of a packet. */
const packetBytes = 8 * 1024;
/** conmon sends what it read at once, with a byte before it that says from which pipe. */
const stdoutByte = 2;
const stderrByte = 3;
/** How far a client may be behind; then it is let go, as conmon waits for nobody. */
const behindBytes = 4 * 1024 * 1024;
/** How long the last output is awaited after the container's end. */
const drainMs = 1_000;
const betweenSizesMs = 50;
/** What conmon takes for a size. */
const longestSide = 1_000;

/** A container to attach to. */
export interface AttachTarget {
  readonly id: string;
  /** conmon's socket and its control fifo. */
  readonly socket: string;
  readonly control: string;
  readonly ended: Promise<unknown>;
}

/**
 * Connections to conmons that nobody uses, kept open.
 *
 * NOTE(conmon): unless it was told to leave stdin open, it closes it as soon as any connection ends,
 * also one of a client that only listens. So such a client's connection goes on without it, and the
 * next one of its kind takes it over.
 */
export class IdleAttachments {
  /** With each, what listens for its end meanwhile. */
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

/** Joins a client to a container's streams; see ContainerRuntime.attach. */
export async function attach(
  deps: { readonly idle: IdleAttachments; readonly log: Logger },
  target: AttachTarget,
  client: AttachedClient,
  operation: Operation,
): Promise<void> {
  const { stdin, stdout, stderr } = client.streams;
  const types = stdin !== undefined && client.stdin === "none" ? undefined : stdin;
  // What nobody reads the client need not hold back.
  if (types === undefined) stdin?.resume();
  const mayIdle = types === undefined && client.stdin === "once";
  await operation.enter("connect");
  const idle = mayIdle ? deps.idle.take(target.id) : undefined;
  const socket = idle ?? connect(target);
  using sizes = new Sizes(client.streams.sizes);
  if (client.terminal) sizes.follow(resizer(target, deps.log));
  const stop = feed(types, socket);
  const behind = Promise.withResolvers<never>();
  behind.promise.catch(() => undefined);
  const onPacket = (packet: Buffer): void => {
    const sink = sinkOf(packet[0], stdout, stderr);
    if (sink === undefined || !sink.writable || sink.destroyed) return;
    sink.write(packet.subarray(1));
    if (sink.writableLength > behindBytes) behind.reject(tooSlow(target.id));
  };
  for (const sink of [stdout, stderr]) sink?.on("error", () => undefined);
  socket.on("data", onPacket);
  using closing = new Closing(socket);
  try {
    await operation.enter("wait-for-end");
    const over = Promise.race([endOf(closing.closed, target.ended), behind.promise]);
    await beforeAbort(over, operation.signal);
    await finish([stdout, stderr], operation.signal);
  } finally {
    stop();
    socket.off("data", onPacket);
    if (mayIdle && !socket.destroyed && !socket.readableEnded) deps.idle.put(target.id, socket);
    else socket.destroy();
  }
}

function sinkOf(
  byte: number | undefined,
  stdout: Writable | undefined,
  stderr: Writable | undefined,
): Writable | undefined {
  if (byte === stdoutByte) return stdout;
  return byte === stderrByte ? stderr : undefined;
}

/** A connection that fails is closed: its error tells nothing more. */
function connect(target: AttachTarget): DescriptorStream {
  return connectPackets(target.socket, packetBytes).on("error", () => undefined);
}

/** Tells when conmon has closed a connection, and stops listening when disposed of. */
class Closing implements Disposable {
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

/** conmon ends with its container, and its socket with it, unless it hangs. */
async function endOf(closed: Promise<unknown>, ended: Promise<unknown>): Promise<void> {
  await Promise.race([closed, ended]);
  await within(closed, drainMs);
}

function tooSlow(id: string): RuntimeError {
  return new RuntimeError(
    "resource-exhausted",
    `attach to container "${id}": the client is ${behindBytes} bytes behind what the container writes; read faster, or read its log`,
  );
}

/**
 * Tells conmon the latest size.
 *
 * There is a pause between two messages (see controlTurn()), and the last one is told once more: it must not be
 * the lost one.
 */
function resizer(target: AttachTarget, log: Logger): (size: TerminalSize) => void {
  let wanted: TerminalSize | undefined;
  let busy = false;
  const tell = async (size: TerminalSize): Promise<void> => {
    const [height, width] = [size.height, size.width].map((side) => Math.min(side, longestSide));
    using _turn = await controlTurn(target.control);
    try {
      await tellMonitor(target.control, `1 ${height} ${width}\n`);
    } catch (error) {
      log.debug(`resize terminal of container "${target.id}": ${messageOf(error)}`);
    }
    await delay(betweenSizesMs);
  };
  const run = async (first: TerminalSize): Promise<void> => {
    busy = true;
    let size = first;
    for (let left = 2; left > 0; left--) {
      await tell(size);
      if (wanted === undefined || wanted === size) continue;
      size = wanted;
      left = 3;
    }
    busy = false;
  };
  return (size) => {
    wanted = size;
    if (!busy) void run(size);
  };
}
