import { Duplex } from "node:stream";

import { RuntimeError } from "../../base/errors.ts";
import { type NativeWatch, native, nativeError, watchedEvents } from "../native.ts";
import { errnoCode } from "../../base/system-error.ts";

/** What is read at once; a packet that is longer is cut by the kernel (unix(7)). */
const readBytes = 64 * 1024;
/** Reads of one turn of the event loop: others come to theirs, too. */
const readsInTurn = 16;
/** All descriptors share it: what was read is copied out before the next read. */
let room: Buffer | undefined;

/** What a descriptor is. */
export interface DescriptorKind {
  /** Each chunk that is read is one packet, and each write is cut into packets of this size. */
  readonly packetBytes?: number;
  /** A pseudo-terminal's master side. */
  readonly terminal?: boolean;
}

/**
 * A non-blocking socket or terminal that node:net and node:tty cannot serve, as a stream with
 * back-pressure in both directions. node:tty writes to a terminal's master side with the event loop
 * blocked (libuv makes only slaves non-blocking), and node:net refuses SOCK_SEQPACKET.
 *
 * The end comes when the other side is gone, whatever the kernel calls that (EIO for a terminal that
 * nobody has open any more, ECONNRESET). What is written after that is dropped: who wrote for the
 * other side hears of its end by other means. Destroying it closes the descriptor at once.
 */
export class DescriptorStream extends Duplex {
  readonly #kind: DescriptorKind;
  readonly #watch: NativeWatch;
  #wantsRead = false;
  #wantsWrite = false;
  #closed = false;
  #writing: { chunk: Buffer; readonly done: (error?: Error | null) => void } | undefined;

  /** Takes over `fd`, also when it throws. */
  constructor(fd: number, kind: DescriptorKind = {}) {
    const packets = kind.packetBytes !== undefined;
    super({ readableObjectMode: packets, allowHalfOpen: true, decodeStrings: true });
    this.#kind = kind;
    try {
      this.#watch = native().watchDescriptor(fd, (events) => {
        this.#onEvents(events);
      });
    } catch (cause) {
      throw nativeError(cause, "watch descriptor");
    }
  }

  /** Tells the processes of a terminal its size, at most 65535 each. */
  resize(size: { readonly width: number; readonly height: number }): void {
    if (this.#closed) return;
    const clamp = (value: number): number => Math.min(Math.max(Math.trunc(value), 0), 0xffff);
    try {
      native().terminalResize(this.#watch, clamp(size.height) * 65536 + clamp(size.width));
    } catch (cause) {
      throw nativeError(cause, `resize terminal to ${size.width} x ${size.height}`);
    }
  }

  override _read(): void {
    if (this.#wantsRead) return;
    this.#wantsRead = true;
    this.#call();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing = { chunk, done };
    this.#writeSome();
  }

  override _final(done: (error?: Error | null) => void): void {
    try {
      // A terminal has no half-close: what ends its input is a character.
      if (this.#kind.terminal !== true && !this.#closed) native().socketEnd(this.#watch);
      done();
    } catch (cause) {
      done(nativeError(cause, "end socket"));
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#closed = true;
    native().watchClose(this.#watch);
    const writing = this.#writing;
    this.#writing = undefined;
    writing?.done(error ?? new RuntimeError("canceled", "write: the descriptor was closed"));
    done(error);
  }

  #onEvents(events: number): void {
    if (this.#closed) return;
    if (this.#wantsRead && (events & watchedEvents.readable) !== 0) {
      this.#wantsRead = false;
      if (this.#readSome()) this.#wantsRead = true;
    }
    if (this.#wantsWrite && (events & watchedEvents.writable) !== 0) {
      this.#wantsWrite = false;
      this.#writeSome();
    }
    // Also when nothing changed: after an error the kernel was not asked any more.
    this.#call();
  }

  /** False when whoever reads has enough for now, or at the end. */
  #readSome(): boolean {
    room ??= Buffer.allocUnsafeSlow(readBytes);
    for (let n = 0; n < readsInTurn; n++) {
      let count: number;
      try {
        count = native().descriptorRead(this.#watch, room);
      } catch (cause) {
        const error = nativeError(cause, "read descriptor");
        if (!isGone(error)) this.destroy(error);
        else this.push(null);
        return false;
      }
      if (count < 0) return true;
      if (count === 0) {
        this.push(null);
        return false;
      }
      if (!this.push(Buffer.from(room.subarray(0, count))) || this.#closed) return false;
    }
    return true;
  }

  #writeSome(): void {
    const { packetBytes = Number.MAX_SAFE_INTEGER } = this.#kind;
    for (let writing = this.#writing; writing !== undefined; writing = this.#writing) {
      let count: number;
      try {
        const piece = writing.chunk.subarray(0, packetBytes);
        count = piece.length === 0 ? 0 : native().descriptorWrite(this.#watch, piece);
      } catch (cause) {
        const error = nativeError(cause, "write descriptor");
        count = writing.chunk.length;
        if (!isGone(error)) {
          this.destroy(error);
          return;
        }
      }
      if (count < 0) {
        this.#wantsWrite = true;
        this.#call();
        return;
      }
      writing.chunk = writing.chunk.subarray(count);
      if (writing.chunk.length > 0) continue;
      this.#writing = undefined;
      writing.done();
    }
  }

  #call(): void {
    if (this.#closed) return;
    const { readable, writable } = watchedEvents;
    native().watchEvents(
      this.#watch,
      (this.#wantsRead ? readable : 0) | (this.#wantsWrite ? writable : 0),
    );
  }
}

/** EIO: a terminal that nobody has open; the others: a socket whose other end is gone. */
function isGone(error: RuntimeError): boolean {
  return ["EIO", "ECONNRESET", "EPIPE", "ENOTCONN"].includes(errnoCode(error) ?? "");
}
