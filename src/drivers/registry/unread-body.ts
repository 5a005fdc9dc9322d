import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

import type { BlobChunk } from "../../base/unread-bytes.ts";
import { UnreadSocket } from "../../linux/stream/index.ts";

/** A smaller rest is read in the usual way, which keeps the connection for the next request. */
const minBytes = 1024n * 1024n;
/** The most bytes that are moved in one turn of the event loop. */
const maxChunk = 1024 * 1024;

/** NOTE(node): what is not in the interface of a socket. Without it, bodies are read in the usual way. */
interface SocketHandle {
  readonly fd?: unknown;
  reading?: unknown;
  readStop?(): number;
}

/**
 * The rest of a body that stays in its socket until it is moved elsewhere, for connections without TLS. First come the
 * bytes that Node.js has read already. The connection cannot be used again: Node.js never sees the end of the body.
 */
export class UnreadBody implements Disposable {
  readonly #message: IncomingMessage;
  readonly #socket: UnreadSocket;
  #left: bigint;
  #failure: Error | undefined;

  /** `undefined` for a body that is small, encrypted, in chunks or of unknown length. */
  static of(message: IncomingMessage, length: bigint | undefined): UnreadBody | undefined {
    if (length === undefined || length < minBytes || message.destroyed) return undefined;
    if (message.headers["transfer-encoding"] !== undefined) return undefined;
    const handle = handleOf(message.socket);
    if (handle === undefined) return undefined;
    handle.readStop();
    // Node.js does not start reading again what it believes to read.
    handle.reading = true;
    return new UnreadBody(message, length, new UnreadSocket(handle.fd));
  }

  private constructor(message: IncomingMessage, length: bigint, socket: UnreadSocket) {
    this.#message = message;
    this.#left = length;
    this.#socket = socket;
    message.on("error", (error) => this.#end(error));
    message.on("close", () => this.#end(closedEarly()));
  }

  /** `undefined` at the end. Rejects with the failure of the message or of the connection. */
  async next(): Promise<BlobChunk | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#left === 0n) return undefined;
    const chunk = this.#buffered() ?? (await this.#unread());
    this.#left -= BigInt(chunk.length);
    return chunk;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** What Node.js has read before: parsed, or still to be parsed, which takes place during read(). */
  #buffered(): Uint8Array | undefined {
    const { socket } = this.#message;
    for (;;) {
      const chunk = this.#message.read() as Uint8Array | null;
      if (chunk !== null) return chunk;
      if (socket.readableLength === 0) return undefined;
      socket.read();
    }
  }

  async #unread(): Promise<BlobChunk> {
    const waiting = await this.#socket.wait();
    if (this.#failure !== undefined) throw this.#failure;
    if (waiting === 0) throw closedEarly();
    const most = this.#left < BigInt(maxChunk) ? Number(this.#left) : maxChunk;
    return this.#socket.take(Math.min(waiting, most));
  }

  /** The first outcome counts. */
  #end(error: Error): void {
    this.#failure ??= error;
    this[Symbol.dispose]();
  }
}

function handleOf(
  socket: Socket & { readonly encrypted?: boolean },
): { readonly fd: number; reading: unknown; readStop(): number } | undefined {
  const handle = (socket as { readonly _handle?: SocketHandle | null })._handle;
  if (socket.encrypted === true || handle?.reading === undefined) return undefined;
  if (typeof handle.fd !== "number" || handle.fd < 0 || handle.readStop === undefined) {
    return undefined;
  }
  return handle as { readonly fd: number; reading: unknown; readStop(): number };
}

/** As Node.js reports a body that breaks off. */
export function closedEarly(): Error {
  const code = "ERR_STREAM_PREMATURE_CLOSE";
  return Object.assign(new Error("the connection closed before the end"), { code });
}
