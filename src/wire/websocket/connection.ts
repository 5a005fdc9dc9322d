// One WebSocket connection of either side, after its handshake. No package is used, because
// Kubernetes sends streams in messages: their pieces are passed on as they arrive, and a
// slow reader stops the peer by TCP (docs/decisions/0001-libraries.md).
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { ReadThrottle } from "../mux/read-throttle.ts";
import { linger } from "../mux/linger.ts";
import { Outbox, type Sent } from "../mux/outbox.ts";
import {
  closeCode,
  frameParts,
  type MessagePiece,
  opcode,
  WebSocketError,
  WebSocketParser,
} from "./frames.ts";

/** Options of a WebSocketConnection. */
export interface WebSocketOptions {
  readonly transport: Duplex;
  readonly role: "client" | "server";
  /** Called for each piece of a message. An error that it throws closes the connection. */
  readonly onMessage: (piece: MessagePiece) => void;
  /** A longer message closes the connection; 32 MiB, as in Kubernetes. */
  readonly maxMessageBytes?: number;
  /** The connection is not read while there are more unread bytes; 4 MiB. See addUnread() and removeUnread(). */
  readonly maxUnreadBytes?: number;
  /** How long a peer may take to close its end after everything was sent; 5 s. */
  readonly lingerMs?: number;
}

/** Sends and receives messages. */
export class WebSocketConnection {
  /** Resolves when the connection is closed; to the reason, unless the peer closed it normally. */
  readonly closed: Promise<Error | undefined>;

  readonly #options: WebSocketOptions;
  readonly #transport: Duplex;
  readonly #outbox: Outbox;
  readonly #throttle: ReadThrottle;
  readonly #resolveClosed: (reason: Error | undefined) => void;
  #isClosing = false;
  #isClosed = false;

  constructor(options: WebSocketOptions) {
    this.#options = options;
    this.#transport = options.transport;
    ({ promise: this.closed, resolve: this.#resolveClosed } = Promise.withResolvers());
    this.#outbox = new Outbox(this.#transport);
    this.#throttle = new ReadThrottle({
      transport: this.#transport,
      limitBytes: options.maxUnreadBytes ?? 4 * 1024 * 1024,
      probe: () => this.#sendNow(opcode.ping, Buffer.alloc(0)),
    });
    const parser = new WebSocketParser(
      {
        masked: options.role === "server",
        maxMessageBytes: options.maxMessageBytes ?? 32 * 1024 * 1024,
      },
      {
        message: (piece) => {
          if (!this.#isClosed) options.onMessage(piece);
        },
        control: (code, payload) => this.#control(code, payload),
      },
    );
    this.#transport.on("data", (chunk: Buffer) => this.#receive(parser, chunk));
    this.#transport.on("end", () => this.#connectionLost(connectionClosed()));
    this.#transport.on("error", (cause) => this.#connectionLost(connectionClosed(cause)));
    this.#transport.on("close", () => this.#connectionLost(connectionClosed()));
  }

  /** Bytes that were received and not read yet. */
  get unreadBytes(): number {
    return this.#throttle.unreadBytes;
  }

  /** Sends a message that consists of `parts`; `sent` is called when more can be sent. */
  send(kind: "text" | "binary", parts: readonly Buffer[], sent: Sent): void {
    const masked = this.#options.role === "client";
    this.#outbox.send(frameParts(opcode[kind], parts, masked), sent);
  }

  /** Counts bytes of a message that its receiver has not read yet. */
  addUnread(bytes: number): void {
    this.#throttle.add(bytes);
  }

  /** Counts bytes that were read. */
  removeUnread(bytes: number): void {
    this.#throttle.remove(bytes);
  }

  /**
   * Sends a close frame after all data, and closes. Data that the peer still sends is read and dropped
   * until it closes, too: closing with unread data would discard what the peer has not read yet.
   * Waits for a peer that reads slowly.
   */
  close(code: number = closeCode.normal): void {
    if (this.#isClosing || this.#isClosed) return;
    this.#isClosing = true;
    this.#throttle.end();
    this.#transport.resume();
    const masked = this.#options.role === "client";
    const closeFrame = frameParts(opcode.close, [codeBytes(code)], masked);
    this.#outbox.send(closeFrame, () =>
      this.#transport.end(() => linger(this.#transport, this.#options.lingerMs)),
    );
  }

  /** Closes the connection at once. */
  destroy(): void {
    this.#connectionLost(connectionClosed());
    this.#transport.destroy();
  }

  #receive(parser: WebSocketParser, chunk: Buffer): void {
    if (this.#isClosed || this.#isClosing) return;
    try {
      parser.push(chunk);
    } catch (error) {
      const code = error instanceof WebSocketError ? error.code : closeCode.protocolError;
      this.#sendNow(opcode.close, codeBytes(code));
      this.#connectionLost(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #control(code: number, payload: Buffer): void {
    if (this.#isClosed) return;
    if (code === opcode.ping) this.#sendNow(opcode.pong, payload);
    if (code !== opcode.close) return;
    if (payload.length === 1)
      throw new WebSocketError(closeCode.protocolError, "half a close code");
    const reason = payload.length === 0 ? closeCode.normal : payload.readUInt16BE(0);
    this.#sendNow(opcode.close, payload.subarray(0, 2));
    // 1001: a browser leaves the page, or a server shuts down.
    const isNormal = reason === closeCode.normal || reason === 1001;
    this.#connectionLost(
      isNormal ? undefined : connectionClosed(`the peer closed with code ${reason}`),
    );
  }

  #sendNow(code: number, payload: Buffer): void {
    if (this.#isClosed || this.#transport.writableEnded) return;
    const parts = frameParts(code, [payload], this.#options.role === "client");
    if (this.#outbox.sendNow(Buffer.concat(parts))) return;
    this.#connectionLost(
      new RuntimeError("resource-exhausted", "close WebSocket: the peer does not read responses"),
    );
    this.#transport.destroy();
  }

  #connectionLost(reason: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#throttle.end();
    this.#outbox.connectionLost(reason ?? connectionClosed());
    // Also while closing: when the peer has closed its end, there is no reason to wait longer.
    linger(this.#transport, this.#options.lingerMs);
    this.#isClosing = true;
    this.#transport.end();
    this.#resolveClosed(reason);
  }
}

function codeBytes(code: number): Buffer {
  return Buffer.from([code >> 8, code & 0xff]);
}

function connectionClosed(cause?: unknown): RuntimeError {
  const why = typeof cause === "string" ? cause : "the connection is closed";
  return new RuntimeError("unavailable", `use WebSocket: ${why}`, { cause });
}
