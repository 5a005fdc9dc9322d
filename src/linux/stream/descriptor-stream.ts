import { Duplex } from "node:stream";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { closeWatch, type NativeWatch } from "../addon.ts";
import {
  endSocket,
  type Readiness,
  readDescriptor,
  refuseInput,
  resizeTerminal,
  sendDescriptor,
  watchDescriptor,
  watchFor,
  writeDescriptor,
} from "./native.ts";

/** The size of a read; the kernel truncates a longer packet (unix(7)). */
const readBytes = 64 * 1024;
/** Reads in one turn of the event loop, so that other descriptors are served, too. */
const readsPerTurn = 16;
/** All descriptors share this buffer: what was read is copied before the next read. */
let buffer: Buffer | undefined;

/** The kind of a descriptor. */
export interface DescriptorKind {
  /** Each chunk that is read is one packet, and each write is split into packets of at most this size. */
  readonly packetBytes?: number;
  /** The descriptor is the master side of a pseudo-terminal. */
  readonly terminal?: boolean;
}

/**
 * A non-blocking socket or terminal that node:net and node:tty cannot serve, as a stream with
 * back-pressure in both directions. node:tty blocks the event loop when it writes to a terminal's master side
 * (libuv makes only slaves non-blocking), and node:net refuses SOCK_SEQPACKET.
 *
 * The stream ends when the other side is closed, whichever errno the kernel reports (EIO for a terminal that
 * no process has open, ECONNRESET). Later writes are dropped: the writer learns by other means that the
 * other side has ended. Destroying the stream closes the descriptor at once.
 */
export class DescriptorStream extends Duplex {
  readonly #kind: DescriptorKind;
  readonly #watch: NativeWatch;
  #readRequested = false;
  #writeRequested = false;
  #closed = false;
  #writing: { chunk: Buffer; readonly done: (error?: Error | null) => void } | undefined;

  /** Takes ownership of `fd`, also when it throws. */
  constructor(fd: number, kind: DescriptorKind = {}) {
    const packets = kind.packetBytes !== undefined;
    super({ readableObjectMode: packets, allowHalfOpen: true, decodeStrings: true });
    this.#kind = kind;
    this.#watch = watchDescriptor(fd, (ready) => {
      this.#onReady(ready);
    });
  }

  /** Sets the size of a terminal, at most 65535 each; its processes get SIGWINCH. */
  resize(size: { readonly width: number; readonly height: number }): void {
    if (this.#closed) return;
    const clamp = (value: number): number => Math.min(Math.max(Math.trunc(value), 0), 0xffff);
    resizeTerminal(this.#watch, { rows: clamp(size.height), columns: clamp(size.width) });
  }

  /**
   * Sends a packet with a descriptor at once, which stays open here; no other packet may be waiting to be written. Throws
   * SystemError: EAGAIN when the peer's queue is full, EPIPE when it has closed the socket.
   */
  sendDescriptor(packet: Uint8Array, fd: number): void {
    sendDescriptor(this.#watch, packet, fd);
  }

  /** Stops the peer from sending. What it has sent until now is still read, and then the stream ends. */
  refuseInput(): void {
    if (!this.#closed) refuseInput(this.#watch);
  }

  override _read(): void {
    if (this.#readRequested) return;
    this.#readRequested = true;
    this.#watchWanted();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing = { chunk, done };
    this.#writeSome();
  }

  override _final(done: (error?: Error | null) => void): void {
    try {
      // A terminal has no half-close: a character ends its input.
      if (this.#kind.terminal !== true && !this.#closed) endSocket(this.#watch);
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#closed = true;
    closeWatch(this.#watch);
    const writing = this.#writing;
    this.#writing = undefined;
    writing?.done(error ?? new RuntimeError("canceled", "write: the descriptor was closed"));
    done(error);
  }

  #onReady({ readable, writable }: Readiness): void {
    if (this.#closed) return;
    if (this.#readRequested && readable) {
      this.#readRequested = false;
      if (this.#readSome()) this.#readRequested = true;
    }
    if (this.#writeRequested && writable) {
      this.#writeRequested = false;
      this.#writeSome();
    }
    // Also when nothing changed: after an error libuv no longer polls the descriptor.
    this.#watchWanted();
  }

  /** False when the reader has enough for now, and at the end. */
  #readSome(): boolean {
    buffer ??= Buffer.allocUnsafeSlow(readBytes);
    for (let n = 0; n < readsPerTurn; n++) {
      let count: number | undefined;
      try {
        count = readDescriptor(this.#watch, buffer);
      } catch (error) {
        if (!isClosedByPeer(error)) this.destroy(error as Error);
        else this.push(null);
        return false;
      }
      if (count === undefined) return true;
      if (count === 0) {
        this.push(null);
        return false;
      }
      if (!this.push(Buffer.from(buffer.subarray(0, count))) || this.#closed) return false;
    }
    return true;
  }

  #writeSome(): void {
    const { packetBytes = Number.MAX_SAFE_INTEGER } = this.#kind;
    for (let writing = this.#writing; writing !== undefined; writing = this.#writing) {
      let count: number | undefined;
      try {
        const packet = writing.chunk.subarray(0, packetBytes);
        count = packet.length === 0 ? 0 : writeDescriptor(this.#watch, packet);
      } catch (error) {
        count = writing.chunk.length;
        if (!isClosedByPeer(error)) {
          this.destroy(error as Error);
          return;
        }
      }
      if (count === undefined) {
        this.#writeRequested = true;
        this.#watchWanted();
        return;
      }
      writing.chunk = writing.chunk.subarray(count);
      if (writing.chunk.length > 0) continue;
      this.#writing = undefined;
      writing.done();
    }
  }

  #watchWanted(): void {
    if (this.#closed) return;
    watchFor(this.#watch, { readable: this.#readRequested, writable: this.#writeRequested });
  }
}

/** EIO: no process has the terminal open. The others: the peer has closed the socket. */
function isClosedByPeer(error: unknown): boolean {
  return ["EIO", "ECONNRESET", "EPIPE", "ENOTCONN"].includes(errnoCode(error) ?? "");
}
