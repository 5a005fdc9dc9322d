import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";
import { basename, dirname } from "node:path";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { beforeAbort } from "../../base/wait.ts";
import { closeWatch, type NativeWatch } from "../addon.ts";
import { DescriptorStream } from "./descriptor-stream.ts";
import {
  acceptConnection,
  connectPacketSocket,
  connectToLoopback,
  listenAt,
  receiveDescriptor,
  releaseDescriptor,
  tcpSocketIn,
  throwSocketError,
  watchDescriptor,
  watchFor,
} from "./native.ts";

const onlyReadable = { readable: true, writable: false };
const onlyWritable = { readable: false, writable: true };

/**
 * Connects to a unix socket of type SOCK_SEQPACKET, however long its path is. Each chunk that is read
 * is one packet, and no written packet is longer than `packetBytes`. `not-found` when there is no socket;
 * `failed-precondition` when no process listens on it any more.
 */
export function connectPackets(path: string, packetBytes: number): DescriptorStream {
  const directory = openDirectory(dirname(path));
  let fd: number;
  try {
    const shortPath = `/proc/self/fd/${directory}/${basename(path)}`;
    fd = connectPacketSocket(shortPath, `connect to "${path}"`);
  } catch (error) {
    if (errnoCode(error) !== "ECONNREFUSED") throw error;
    throw new RuntimeError("failed-precondition", messageOf(error), { cause: error });
  } finally {
    closeSync(directory);
  }
  return new DescriptorStream(fd, { packetBytes });
}

/**
 * A socket on which an OCI runtime passes the master side of a terminal that it made (runc,
 * docs/terminals.md: one message with one descriptor). Disposal removes it from its directory.
 */
export class ConsoleSocket implements Disposable {
  /** For the runtime's command line. It is short even if the path of the directory is long. */
  readonly path: string;
  readonly #directory: number;
  readonly #own: string;
  readonly #watches = new Set<NativeWatch>();
  readonly #terminal = Promise.withResolvers<DescriptorStream>();

  /** Other users must not have access to `directory`: any process that connects can pass a terminal. */
  constructor(directory: string) {
    const name = randomBytes(8).toString("hex");
    this.#terminal.promise.catch(() => undefined);
    this.#directory = openDirectory(directory);
    this.#own = `/proc/self/fd/${this.#directory}/${name}`;
    this.path = `/proc/${process.pid}/fd/${this.#directory}/${name}`;
    try {
      const listener = listenAt(this.#own, `listen in "${directory}" for a terminal`);
      this.#onReadable(listener, (watch) => {
        this.#accept(watch);
      });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** Settles when the runtime has passed a terminal. Never settles after disposal. */
  get terminal(): Promise<DescriptorStream> {
    return this.#terminal.promise;
  }

  /** Does not close the terminal. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) closeWatch(watch);
    this.#watches.clear();
    try {
      unlinkSync(this.#own);
    } catch {
      // The socket or its directory does not exist.
    }
    closeSync(this.#directory);
    this[Symbol.dispose] = () => undefined;
  }

  #onReadable(fd: number, action: (watch: NativeWatch) => void): void {
    const watch = watchDescriptor(fd, () => {
      try {
        action(watch);
      } catch (error) {
        this.#terminal.reject(error);
        this.#close(watch);
      }
    });
    this.#watches.add(watch);
    watchFor(watch, onlyReadable);
  }

  #close(watch: NativeWatch): void {
    closeWatch(watch);
    this.#watches.delete(watch);
  }

  #accept(listener: NativeWatch): void {
    const fd = acceptConnection(listener);
    if (fd === undefined) return;
    this.#close(listener);
    this.#onReadable(fd, (watch) => {
      const terminal = receiveDescriptor(watch, "receive a terminal from the OCI runtime");
      if (terminal === undefined) return;
      this.#close(watch);
      this.#terminal.resolve(new DescriptorStream(terminal, { terminal: true }));
    });
  }
}

/**
 * Connects to a TCP port of the loopback in a network namespace (undefined: the host's), IPv4 first,
 * then IPv6. Half-close works in both directions. `unavailable` when no process listens on either.
 */
export async function connectLoopback(
  netnsPath: string | undefined,
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const failures: string[] = [];
  for (const ipv6 of [false, true]) {
    const fd = tcpSocketIn(netnsPath, { ipv6 });
    if (fd === undefined) continue;
    const failure = await connectOne(fd, port, signal);
    if (failure instanceof Socket) return failure;
    failures.push(failure);
  }
  const where = netnsPath === undefined ? "the host" : "the pod";
  throw new RuntimeError(
    "unavailable",
    `connect to port ${port} of the loopback of ${where}: ${[...new Set(failures)].join("; ")}`,
  );
}

/** The connection, or why it failed. Takes ownership of `fd`. Rejects when the signal is aborted. */
async function connectOne(fd: number, port: number, signal: AbortSignal): Promise<Socket | string> {
  const writable = Promise.withResolvers<undefined>();
  const watch = watchDescriptor(fd, () => {
    writable.resolve(undefined);
  });
  try {
    signal.throwIfAborted();
    if (!connectToLoopback(watch, port)) {
      watchFor(watch, onlyWritable);
      await beforeAbort(writable.promise, signal);
      throwSocketError(watch);
    }
    const socket = new Socket({
      fd: releaseDescriptor(watch),
      allowHalfOpen: true,
      readable: true,
      writable: true,
    });
    // Like Go's connections: the second of two small writes does not wait for the pod's
    // acknowledgement of the first one, which the kernel delays by 40 ms (TCP_DELACK_MIN).
    socket.setNoDelay(true);
    // The socket is read from now on, and may be reset before its user listens for errors.
    socket.on("error", () => undefined);
    return socket;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    return messageOf(cause);
  } finally {
    closeWatch(watch);
  }
}

function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw systemError(`open directory "${path}"`, cause);
  }
}
