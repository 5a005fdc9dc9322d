import { closeSync, unlinkSync } from "node:fs";
import { RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { closeWatch, type NativeWatch } from "../addon.ts";
import { acceptConnection, listenAt, watchDescriptor, watchFor } from "../stream/native.ts";
import { denyCall, nextCall, receiveFilter } from "./native.ts";
import { Turns } from "./turns.ts";

const readable = { readable: true, writable: false };
const nothing = { readable: false, writable: false };

/** Calls of one filter that are answered in a turn of the event loop. */
const perTurn = 16;
/** Turns of one filter in each interval: at most 1,600 calls a second, about 2 % of a CPU. */
const turnsPerInterval = 10;
const intervalMs = 100;
/** Turns of all filters in each interval: about 20 % of a CPU. */
const turnsOfAll = 100;
/** Connections that have not sent their filter yet; an OCI runtime sends it with its next call. */
const maxConnections = 64;
/** The largest state of a process: it has the annotations of its container, escaped as JSON. Bytes. */
const maxState = 4 * 1024 * 1024;
/** How long no connection is accepted after one could not be, for lack of descriptors or memory. */
const acceptPauseMs = 1_000;

const shared = new Turns(turnsOfAll, intervalMs);

/** A system call that a filter denied: AUDIT_ARCH_* (linux/audit.h) and the number there. */
export interface DeniedCall {
  readonly arch: number;
  readonly number: number;
}

/** The filter of a process: its calls wait until they are answered. */
export class SeccompFilter implements Disposable {
  readonly #watch: NativeWatch;
  #turns = 0;
  #isPaused = false;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * Takes ownership of the descriptor. Each call fails with the errno that `deny` returns, always. Processes that make
   * many of them wait for their answers, so that davit's time for one filter and for all of them is limited. `onEnd`
   * is called when no process uses the filter any more, or with an error.
   */
  constructor(
    fd: number,
    deny: (call: DeniedCall) => number,
    onEnd: (error?: unknown) => void = () => undefined,
  ) {
    this.#watch = watchDescriptor(fd, () => {
      try {
        if (this.#answer(deny)) return;
        this[Symbol.dispose]();
        onEnd();
      } catch (error) {
        this[Symbol.dispose]();
        onEnd(error);
      }
    });
    watchFor(this.#watch, readable);
  }

  /** False at the end. */
  #answer(deny: (call: DeniedCall) => number): boolean {
    for (let count = 0; count < perTurn; count++) {
      const call = nextCall(this.#watch);
      if (call === false) return false;
      if (call === undefined) break;
      denyCall(this.#watch, call.id, deny(call));
    }
    this.#turns += 1;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#turns = 0;
      if (!this.#isPaused || this.#isClosed) return;
      this.#isPaused = false;
      watchFor(this.#watch, readable);
    }, intervalMs).unref();
    const isAnyLeft = shared.take(performance.now());
    this.#isPaused = !isAnyLeft || this.#turns >= turnsPerInterval;
    if (this.#isPaused) watchFor(this.#watch, nothing);
    return true;
  }

  /** Calls that wait, and later ones, fail with ENOSYS (seccomp_unotify(2)). */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    closeWatch(this.#watch);
  }
}

/** The socket on which OCI runtimes send filters (runtime-spec, linux.seccomp.listenerPath). */
export class SeccompListener implements Disposable {
  readonly #watches = new Set<NativeWatch>();
  /** What connections have sent so far. */
  readonly #begun = new Map<NativeWatch, PartialFilter>();
  readonly #listening: NativeWatch;
  #pause: NodeJS.Timeout | undefined;
  #isRefused = false;

  /**
   * Listens at `path`, which only root can reach, instead of an earlier socket there. `onFilter` owns the descriptor. It
   * gets the JSON of the process. What it throws, and connections without a filter, go to `onError`.
   */
  constructor(
    path: string,
    handlers: {
      readonly onFilter: (fd: number, text: string) => void;
      readonly onError: (error: unknown) => void;
    },
  ) {
    try {
      unlinkSync(path);
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") throw error;
    }
    const fd = listenAt(path, `listen at "${path}" for seccomp filters`);
    this.#listening = this.#onReadable(fd, handlers.onError, (watch) => {
      const accepted = this.#accept(watch);
      if (accepted === undefined) return;
      const connection = this.#onReadable(accepted, handlers.onError, (from) => {
        const filter = this.#receive(from);
        if (filter !== undefined) handlers.onFilter(filter.fd, filter.text);
      });
      const [, oldest] = this.#watches;
      if (this.#watches.size > maxConnections && oldest !== undefined && oldest !== connection) {
        this.#close(oldest);
      }
    });
  }

  #onReadable(
    fd: number,
    onError: (error: unknown) => void,
    action: (watch: NativeWatch) => void,
  ): NativeWatch {
    const watch = watchDescriptor(fd, () => {
      try {
        action(watch);
      } catch (error) {
        if (watch !== this.#listening) this.#close(watch);
        onError(error);
      }
    });
    this.#watches.add(watch);
    watchFor(watch, readable);
    return watch;
  }

  /** The next connection. Throws once when there cannot be one, which stays at the socket and is tried again later. */
  #accept(watch: NativeWatch): number | undefined {
    try {
      const accepted = acceptConnection(watch);
      if (accepted !== undefined) this.#isRefused = false;
      return accepted;
    } catch (error) {
      watchFor(watch, nothing);
      this.#pause = setTimeout(() => {
        watchFor(watch, readable);
      }, acceptPauseMs).unref();
      if (this.#isRefused) return undefined;
      this.#isRefused = true;
      throw error;
    }
  }

  /** The filter of a connection, which is then closed, once all of its JSON is here. */
  #receive(from: NativeWatch): { readonly fd: number; readonly text: string } | undefined {
    const received = receiveFilter(from);
    if (received === undefined) return undefined;
    const begun = this.#begun.get(from) ?? new PartialFilter();
    this.#begun.set(from, begun);
    if (!begun.add(received)) return undefined;
    const whole = { fd: begun.take(), text: begun.text() };
    this.#close(from);
    return whole;
  }

  #close(watch: NativeWatch): void {
    this.#begun.get(watch)?.[Symbol.dispose]();
    this.#begun.delete(watch);
    if (this.#watches.delete(watch)) closeWatch(watch);
  }

  /** The socket file stays: the next daemon sees by it that containers need it. */
  [Symbol.dispose](): void {
    clearTimeout(this.#pause);
    for (const watch of this.#watches) this.#close(watch);
  }
}

/**
 * What an OCI runtime has sent of a filter. The kernel may deliver a large state in pieces, and the runtime may keep the socket
 * open while its container waits for answers, so the end of the JSON is the end of the message.
 */
class PartialFilter implements Disposable {
  #fd: number | undefined;
  readonly #pieces: Buffer[] = [];
  #size = 0;

  /** True once the message is complete. */
  add({ fd, bytes }: { readonly fd: number | undefined; readonly bytes: Buffer }): boolean {
    const isSecond = fd !== undefined && this.#fd !== undefined;
    if (isSecond) closeSync(fd);
    else this.#fd ??= fd;
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    if (this.#fd === undefined || isSecond || this.#size > maxState) {
      const why =
        this.#size > maxState ? `its state has more than ${maxState} bytes` : "want one descriptor";
      throw new RuntimeError("invalid-argument", `receive a seccomp filter: ${why}`);
    }
    // crun ends it with a newline.
    if (!bytes.toString("latin1").trimEnd().endsWith("}")) return false;
    try {
      JSON.parse(this.text());
      return true;
    } catch {
      return false;
    }
  }

  text(): string {
    return Buffer.concat(this.#pieces).toString("utf8");
  }

  /** The descriptor, which the caller then owns. */
  take(): number {
    const fd = this.#fd;
    if (fd === undefined)
      throw new RuntimeError("internal", "receive a seccomp filter: no descriptor");
    this.#fd = undefined;
    return fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}
