// One WebSocket connection of either side, after its handshake. Ours and not a package's, because
// what Kubernetes puts into messages is streams: their pieces are handed on as they come, and a
// reader that is slow holds the peer back by TCP (docs/decisions/0001-libraries.md).
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { Intake } from "../mux/intake.ts";
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

/** What a WebSocketConnection is made of. */
export interface WebSocketOptions {
  readonly transport: Duplex;
  readonly role: "client" | "server";
  /** Told of messages, piece by piece. What it throws closes the connection. */
  readonly onMessage: (piece: MessagePiece) => void;
  /** A longer message closes the connection; 32 MiB, as with Kubernetes' own. */
  readonly maxMessageBytes?: number;
  /** Unread bytes above which nothing is read; 4 MiB. What is unread is told by hold() and release(). */
  readonly maxUnreadBytes?: number;
  /** How long a peer may take to close its end once all was sent to it; 5 s. */
  readonly lingerMs?: number;
}

/** Sends and receives messages. */
export class WebSocketConnection {
  /** Resolves when the connection is gone; to the reason, unless the peer closed it as it should. */
  readonly closed: Promise<Error | undefined>;

  readonly #options: WebSocketOptions;
  readonly #transport: Duplex;
  readonly #outbox: Outbox;
  readonly #intake: Intake;
  readonly #resolveClosed: (reason: Error | undefined) => void;
  #ending = false;
  #gone = false;

  constructor(options: WebSocketOptions) {
    this.#options = options;
    this.#transport = options.transport;
    ({ promise: this.closed, resolve: this.#resolveClosed } = Promise.withResolvers());
    this.#outbox = new Outbox(this.#transport);
    this.#intake = new Intake({
      transport: this.#transport,
      limitBytes: options.maxUnreadBytes ?? 4 * 1024 * 1024,
      probe: () => this.#now(opcode.ping, Buffer.alloc(0)),
    });
    const parser = new WebSocketParser(
      {
        masked: options.role === "server",
        maxMessageBytes: options.maxMessageBytes ?? 32 * 1024 * 1024,
      },
      {
        message: (piece) => {
          if (!this.#gone) options.onMessage(piece);
        },
        control: (code, payload) => this.#control(code, payload),
      },
    );
    this.#transport.on("data", (chunk: Buffer) => this.#receive(parser, chunk));
    this.#transport.on("end", () => this.#lose(cutOff()));
    this.#transport.on("error", (cause) => this.#lose(cutOff(cause)));
    this.#transport.on("close", () => this.#lose(cutOff()));
  }

  /** Bytes that came in and were not read. */
  get unreadBytes(): number {
    return this.#intake.heldBytes;
  }

  /** Sends a message of `parts` one after the other; `sent` is called when more may come. */
  send(kind: "text" | "binary", parts: readonly Buffer[], sent: Sent): void {
    const masked = this.#options.role === "client";
    this.#outbox.send(frameParts(opcode[kind], parts, masked), sent);
  }

  /** Bytes of a message that the receiver holds. */
  hold(bytes: number): void {
    this.#intake.add(bytes);
  }

  /** Bytes that it has passed on. */
  release(bytes: number): void {
    this.#intake.take(bytes);
  }

  /**
   * Says good-bye behind what was sent, and closes. What the peer still sends is read and dropped
   * until it closes too: closing on unread bytes would take from it what it has not read yet.
   * A peer that is slow to read is waited for, as while it was served.
   */
  close(code: number = closeCode.normal): void {
    if (this.#ending || this.#gone) return;
    this.#ending = true;
    this.#intake.end();
    this.#transport.resume();
    const masked = this.#options.role === "client";
    const farewell = frameParts(opcode.close, [codeBytes(code)], masked);
    this.#outbox.send(farewell, () =>
      this.#transport.end(() => linger(this.#transport, this.#options.lingerMs)),
    );
  }

  /** Cuts the connection off. */
  destroy(): void {
    this.#lose(cutOff());
    this.#transport.destroy();
  }

  #receive(parser: WebSocketParser, chunk: Buffer): void {
    if (this.#gone || this.#ending) return;
    try {
      parser.push(chunk);
    } catch (error) {
      const code = error instanceof WebSocketError ? error.code : closeCode.protocolError;
      this.#now(opcode.close, codeBytes(code));
      this.#lose(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #control(code: number, payload: Buffer): void {
    if (this.#gone) return;
    if (code === opcode.ping) this.#now(opcode.pong, payload);
    if (code !== opcode.close) return;
    if (payload.length === 1)
      throw new WebSocketError(closeCode.protocolError, "half a close code");
    const reason = payload.length === 0 ? closeCode.normal : payload.readUInt16BE(0);
    this.#now(opcode.close, payload.subarray(0, 2));
    // 1001: a browser that leaves the page, or a server that shuts down.
    const sound = reason === closeCode.normal || reason === 1001;
    this.#lose(sound ? undefined : cutOff(`the peer closed with code ${reason}`));
  }

  #now(code: number, payload: Buffer): void {
    if (this.#gone || this.#transport.writableEnded) return;
    const parts = frameParts(code, [payload], this.#options.role === "client");
    if (this.#outbox.sendNow(Buffer.concat(parts))) return;
    this.#lose(
      new RuntimeError("resource-exhausted", "close WebSocket: the peer reads none of its answers"),
    );
    this.#transport.destroy();
  }

  #lose(reason: Error | undefined): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#intake.end();
    this.#outbox.lose(reason ?? cutOff());
    // Also when it was ending: a peer that has closed its own end is waited for no longer.
    linger(this.#transport, this.#options.lingerMs);
    this.#ending = true;
    this.#transport.end();
    this.#resolveClosed(reason);
  }
}

function codeBytes(code: number): Buffer {
  return Buffer.from([code >> 8, code & 0xff]);
}

function cutOff(cause?: unknown): RuntimeError {
  const why = typeof cause === "string" ? cause : "the connection is closed";
  return new RuntimeError("unavailable", `use WebSocket: ${why}`, { cause });
}
