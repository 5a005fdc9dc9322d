import { messageOf, RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { PipeInput, UnreadBytes } from "../../base/unread-bytes.ts";
import { closeWatch, type NativeWatch } from "../addon.ts";
import {
  copyDescriptor,
  moveBytes,
  readDescriptor,
  unreadBytes,
  watchDescriptor,
  watchFor,
} from "./native.ts";

/** A copy of a descriptor that Node.js has, too, to wait for on the event loop. */
class WatchedCopy implements Disposable {
  readonly #fd: number;
  readonly #watch: NativeWatch;
  #isClosed = false;
  #wake: (() => void) | undefined;

  constructor(fd: number) {
    this.#fd = copyDescriptor(fd);
    this.#watch = watchDescriptor(this.#fd, () => {
      watchFor(this.#watch, { readable: false, writable: false });
      this.#wake?.();
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get fd(): number {
    // The number may be that of another file by now.
    if (this.#isClosed) throw new RuntimeError("canceled", "move bytes: the descriptor was closed");
    return this.#fd;
  }

  get watch(): NativeWatch {
    return this.#watch;
  }

  /** Resolves when it is ready, has failed, or is closed. One wait at a time. */
  async ready(direction: "readable" | "writable"): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#wake = () => resolve(undefined);
    const isRead = direction === "readable";
    watchFor(this.#watch, { readable: isRead, writable: !isRead });
    await promise;
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeWatch(this.#watch);
    this.#wake?.();
  }
}

/**
 * The end of a pipe that a stream of Node.js writes to. Bytes may be moved into it while that stream has
 * nothing left to write.
 */
export class PipeEnd implements PipeInput, Disposable {
  readonly #copy: WatchedCopy;

  /** `fd` stays its owner's. */
  constructor(fd: number) {
    this.#copy = new WatchedCopy(fd);
  }

  get fd(): number {
    return this.#copy.fd;
  }

  get isClosed(): boolean {
    return this.#copy.isClosed;
  }

  writable(): Promise<void> {
    return this.#copy.ready("writable");
  }

  [Symbol.dispose](): void {
    this.#copy[Symbol.dispose]();
  }
}

/** A connected socket that nobody else reads: its bytes can be moved into a pipe without a copy in this process. */
export class UnreadSocket implements Disposable {
  readonly #copy: WatchedCopy;

  /** `fd` stays its owner's. */
  constructor(fd: number) {
    this.#copy = new WatchedCopy(fd);
  }

  /** Waits for bytes, and resolves with their number; 0 at the end, and once it is closed. Rejects with its error. */
  async wait(): Promise<number> {
    for (;;) {
      await this.#copy.ready("readable");
      if (this.#copy.isClosed) return 0;
      const count = unreadBytes(this.#copy.fd);
      if (count !== undefined) return count;
    }
  }

  /** The next `length` bytes, which wait() has counted. */
  take(length: number): UnreadBytes {
    return {
      length,
      moveTo: (pipe) => this.#move(length, pipe),
      read: () => Promise.resolve(this.#read(length)),
    };
  }

  /** Its owner closes the socket itself. */
  [Symbol.dispose](): void {
    this.#copy[Symbol.dispose]();
  }

  async #move(length: number, pipe: PipeInput): Promise<void> {
    for (let left = length; left > 0; ) {
      const count =
        left === length
          ? firstMove(this.#copy.fd, pipe.fd, left)
          : moveBytes(this.#copy.fd, pipe.fd, left);
      if (count === 0) throw endedEarly();
      if (count === undefined) await pipe.writable();
      left -= count ?? 0;
    }
  }

  #read(length: number): Uint8Array {
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let at = 0; at < length; ) {
      const { fd: _open, watch } = this.#copy;
      const count = readDescriptor(watch, bytes.subarray(at));
      if (count === undefined || count === 0) throw endedEarly();
      at += count;
    }
    return bytes;
  }
}

/** As moveBytes(); `failed-precondition` where splice(2) is not there for these files, or forbidden. */
function firstMove(from: number, to: number, most: number): number | undefined {
  try {
    return moveBytes(from, to, most);
  } catch (cause) {
    if (!["EINVAL", "EPERM", "EACCES", "ENOSYS"].includes(errnoCode(cause) ?? "")) throw cause;
    throw new RuntimeError("failed-precondition", messageOf(cause), { cause });
  }
}

function endedEarly(): RuntimeError {
  return new RuntimeError("internal", "move bytes: the socket has fewer than it had");
}
