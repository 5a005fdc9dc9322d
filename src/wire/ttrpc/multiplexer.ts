import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { messageOf } from "../../base/errors.ts";
import { encodeMessage, MultiplexerReader } from "./multiplexer-frames.ts";
import type { TtrpcTransport } from "./transport.ts";

/** The functions of a multiplexer that its connections use. */
interface Trunk {
  readonly destroyed: boolean;
  readonly writableLength: number;
  write(connection: number, bytes: Uint8Array): unknown;
  end(): void;
  keepRunning(connection: number, keeps: boolean): void;
}

/**
 * Several ttrpc connections on one socket, as NRI has them (pkg/net/multiplex). Both sides know the ids; the protocol
 * neither opens nor closes a logical connection, so all of them end together: when one is destroyed, when the
 * socket is closed, and when the peer sends what is not a frame.
 *
 * Data is passed on as it arrives and nothing is queued: the limits are those of ttrpc, one message per connection. Data
 * for a connection that is not open is dropped, as the Go implementation does. Open all connections in the same turn
 * of the event loop as the multiplexer, before data arrives.
 */
export class Multiplexer implements Disposable {
  readonly #socket: Socket;
  readonly #reader = new MultiplexerReader();
  readonly #connections = new Map<number, LogicalConnection>();
  /** The connections that keep the process running. */
  readonly #keeping = new Set<number>();
  #ended = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end());
  }

  /** Opens a logical connection; once for each id, which is not 0. */
  open(id: number): TtrpcTransport {
    const socket = this.#socket;
    const connection = new LogicalConnection(id, {
      get destroyed() {
        return socket.destroyed;
      },
      get writableLength() {
        return socket.writableLength;
      },
      write: (to, bytes) => socket.write(encodeMessage(to, bytes)),
      end: () => this.#end(),
      keepRunning: (of, keeps) => this.#keepRunning(of, keeps),
    });
    this.#connections.set(id, connection);
    this.#keeping.add(id);
    return connection;
  }

  /** Closes the socket and with it all connections. Idempotent. */
  [Symbol.dispose](): void {
    this.#end();
  }

  #read(chunk: Buffer): void {
    try {
      for (const { connection, data } of this.#reader.push(chunk)) {
        this.#connections.get(connection)?.emit("data", data);
        if (this.#ended) return;
      }
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error(messageOf(error)));
    }
  }

  #end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    for (const connection of this.#connections.values()) connection.ended(error);
  }

  #keepRunning(id: number, keeps: boolean): void {
    if (keeps) this.#keeping.add(id);
    else this.#keeping.delete(id);
    if (this.#keeping.size > 0) this.#socket.ref();
    else this.#socket.unref();
  }
}

class LogicalConnection extends EventEmitter implements TtrpcTransport {
  readonly #id: number;
  readonly #trunk: Trunk;

  constructor(id: number, trunk: Trunk) {
    super();
    this.#id = id;
    this.#trunk = trunk;
  }

  get destroyed(): boolean {
    return this.#trunk.destroyed;
  }

  get writableLength(): number {
    return this.#trunk.writableLength;
  }

  /** `bytes` is a whole frame of ttrpc. */
  write(bytes: Uint8Array): unknown {
    return this.#trunk.write(this.#id, bytes);
  }

  destroy(): void {
    this.#trunk.end();
  }

  ref(): void {
    this.#trunk.keepRunning(this.#id, true);
  }

  unref(): void {
    this.#trunk.keepRunning(this.#id, false);
  }

  ended(error: Error | undefined): void {
    // NOTE(node): an "error" event without a listener throws.
    if (error !== undefined && this.listenerCount("error") > 0) this.emit("error", error);
    this.emit("close");
  }
}
