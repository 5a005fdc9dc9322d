import { setTimeout as delay } from "node:timers/promises";

import { messageOf } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import type { Logger } from "../../../base/logger.ts";
import type { AttachedClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { TerminalSize } from "../../../core/streaming/index.ts";
import { connectPackets, type DescriptorStream } from "../../../linux/stream/index.ts";
import { feed } from "../../../stdio/pump.ts";
import { TerminalSizes } from "../../../stdio/terminal-sizes.ts";
import { passOutput } from "../attached-socket.ts";
import type { AttachTarget } from "../container-monitor.ts";
import { openSockets } from "../open-files.ts";
import { lockControlFifo, sendToMonitor } from "./control-fifo.ts";
import { waitForMonitor } from "./wait.ts";

/** conmon reads up to 32 KiB at once (CONN_SOCK_BUF_SIZE) and drops the rest of a packet. */
const packetBytes = 8 * 1024;
const betweenSizesMs = 50;
/** How long conmon may take to accept a connection; only one that hangs needs longer. */
const acceptMs = 5_000;
const connecting = new KeyedLock();
/** conmon refuses a larger width or height. */
const maxSide = 1_000;

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
  const socket = idle ?? (await connect(target, operation.signal));
  using sizes = new TerminalSizes(sent);
  if (client.terminal) sizes.follow(resizer(target, deps.log));
  const stop = feed(stdin, client.stdin === "none" ? undefined : socket);
  try {
    await passOutput(socket, target, client.streams, operation);
  } finally {
    stop();
    if (mayIdle && !socket.destroyed && !socket.readableEnded) deps.idle.put(target.id, socket);
    else socket.destroy();
  }
}

/**
 * Connects, and waits until conmon has accepted the connection: until then it sends no output there. A connection that
 * fails is closed; the error adds nothing to that.
 *
 * NOTE(conmon): the accept makes a new client (attach_cb() in conn_sock.c), and shows only as a socket of the process. No
 * other sockets appear there, so clients that connect at the same time wait for each other.
 */
async function connect(
  { id, paths, monitorPid }: AttachTarget,
  signal: AbortSignal,
): Promise<DescriptorStream> {
  using _lock = await connecting.acquire(id, signal);
  const before = await openSockets(monitorPid);
  const socket = connectPackets(paths.file(id, "attach"), packetBytes);
  socket.on("error", () => undefined);
  const isAccepted = async (): Promise<boolean> =>
    signal.aborted || (await openSockets(monitorPid)).some((inode) => !before.includes(inode));
  // Without an answer to that, the client is served all the same. Its connection must stay open (see above).
  await waitForMonitor(monitorPid, isAccepted, acceptMs).catch(() => undefined);
  return socket;
}

/**
 * Sends conmon the latest size.
 *
 * There is a pause between two messages (see lockControlFifo()), and the last one is sent twice, as one may be lost.
 */
function resizer({ id, paths }: AttachTarget, log: Logger): (size: TerminalSize) => void {
  const control = paths.file(id, "ctl");
  let latest: TerminalSize | undefined;
  let busy = false;
  const send = async (size: TerminalSize): Promise<void> => {
    const [height, width] = [size.height, size.width].map((side) => Math.min(side, maxSide));
    using _lock = await lockControlFifo(control);
    try {
      await sendToMonitor(control, `1 ${height} ${width}\n`);
    } catch (error) {
      log.debug(`failed to resize terminal of container "${id}": ${messageOf(error)}`);
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
