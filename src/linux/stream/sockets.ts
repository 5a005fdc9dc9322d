import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { Socket } from "node:net";
import { basename, dirname } from "node:path";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import { DescriptorStream } from "./descriptor-stream.ts";
import { type NativeWatch, native, nativeError, watchedEvents } from "../native.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

/**
 * Connects to a unix socket of type SOCK_SEQPACKET, however long its path is: each chunk that is read
 * is one packet, and none that is written is longer than `packetBytes`. `not-found` without a socket;
 * `failed-precondition` when nobody listens at it any more.
 */
export function connectPackets(path: string, packetBytes: number): DescriptorStream {
  const directory = openDirectory(dirname(path));
  let fd: number;
  try {
    fd = native().socketConnectPackets(`/proc/self/fd/${directory}/${basename(path)}`);
  } catch (cause) {
    const error = nativeError(cause, `connect to "${path}"`);
    if (errnoCode(error) !== "ECONNREFUSED") throw error;
    throw new RuntimeError("failed-precondition", error.message, { cause });
  } finally {
    closeSync(directory);
  }
  return new DescriptorStream(fd, { packetBytes });
}

/**
 * A socket by which an OCI runtime hands over the master side of a terminal that it made (runc,
 * docs/terminals.md: one message with one descriptor). It is gone from its directory when disposed of.
 */
export class ConsoleSocket implements Disposable {
  /** For the runtime's command line. It is short, however long the directory's own path is. */
  readonly path: string;
  readonly #directory: number;
  readonly #own: string;
  readonly #watches = new Set<NativeWatch>();
  readonly #terminal = Promise.withResolvers<DescriptorStream>();

  /** `directory` must be closed to others: whoever connects gives a terminal. */
  constructor(directory: string) {
    const name = randomBytes(8).toString("hex");
    this.#terminal.promise.catch(() => undefined);
    this.#directory = openDirectory(directory);
    this.#own = `/proc/self/fd/${this.#directory}/${name}`;
    this.path = `/proc/${process.pid}/fd/${this.#directory}/${name}`;
    try {
      const listener = native().socketListen(this.#own);
      this.#watchFor(listener, (watch) => {
        this.#accept(watch);
      });
    } catch (cause) {
      this[Symbol.dispose]();
      throw nativeError(cause, `listen in "${directory}" for a terminal`);
    }
  }

  /** Settles when the runtime has handed a terminal over. Never settles after disposal. */
  get terminal(): Promise<DescriptorStream> {
    return this.#terminal.promise;
  }

  /** The terminal, where there is one, is not closed by this. */
  [Symbol.dispose](): void {
    for (const watch of this.#watches) native().watchClose(watch);
    this.#watches.clear();
    try {
      unlinkSync(this.#own);
    } catch {
      // It was never made, or its directory is gone: nothing is left either way.
    }
    closeSync(this.#directory);
    this[Symbol.dispose] = () => undefined;
  }

  #watchFor(fd: number, onReadable: (watch: NativeWatch) => void): void {
    const watch = native().watchDescriptor(fd, () => {
      try {
        onReadable(watch);
      } catch (cause) {
        this.#terminal.reject(nativeError(cause, "take a terminal from the OCI runtime"));
        this.#drop(watch);
      }
    });
    this.#watches.add(watch);
    native().watchEvents(watch, watchedEvents.readable);
  }

  #drop(watch: NativeWatch): void {
    native().watchClose(watch);
    this.#watches.delete(watch);
  }

  #accept(listener: NativeWatch): void {
    const fd = native().socketAccept(listener);
    if (fd < 0) return;
    this.#drop(listener);
    this.#watchFor(fd, (watch) => {
      const terminal = native().socketReceive(watch);
      if (terminal < 0) return;
      this.#drop(watch);
      this.#terminal.resolve(new DescriptorStream(terminal, { terminal: true }));
    });
  }
}

/**
 * Connects to a TCP port of the loopback in a network namespace (undefined: the host's), IPv4 first,
 * then IPv6. Half-close works in both directions. `unavailable` when nobody listens at either.
 */
export async function connectLoopback(
  netnsPath: string | undefined,
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const failures: string[] = [];
  for (const ipv6 of [false, true]) {
    let fd: number;
    try {
      fd = native().socketInNamespace(netnsPath ?? null, ipv6);
    } catch (cause) {
      throw nativeError(cause);
    }
    if (fd < 0) continue;
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

/** The connection, or why there is none. Takes over `fd`. Rejects when the signal is aborted. */
async function connectOne(fd: number, port: number, signal: AbortSignal): Promise<Socket | string> {
  const writable = Promise.withResolvers<undefined>();
  const onAbort = (): void => {
    writable.reject(signal.reason);
  };
  const watch = native().watchDescriptor(fd, () => {
    writable.resolve(undefined);
  });
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    if (!native().socketConnectLoopback(watch, port)) {
      native().watchEvents(watch, watchedEvents.writable);
      await writable.promise;
      native().socketError(watch);
    }
    const connected = native().watchRelease(watch);
    const socket = new Socket({
      fd: connected,
      allowHalfOpen: true,
      readable: true,
      writable: true,
    });
    // As Go's connections have it: the second of two small writes does not wait for the pod's
    // acknowledgement of the first one, which the kernel delays by 40 ms (TCP_DELACK_MIN).
    socket.setNoDelay(true);
    // It is read from now on, and may be reset before its user listens.
    socket.on("error", () => undefined);
    return socket;
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    return messageOf(nativeError(cause));
  } finally {
    signal.removeEventListener("abort", onAbort);
    native().watchClose(watch);
  }
}

function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw systemError(`open directory "${path}"`, cause);
  }
}
