import { createServer, type Server } from "node:net";

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { maxTimerMs } from "../../base/time.ts";
import { type Request, RequestSchema, ResponseSchema } from "../../gen/ttrpc/call_pb.ts";
import { grpcCodeOfKind } from "../grpc/status.ts";
import { decodeBounded, decodeRequest } from "../protobuf.ts";
import { listenUnix, type UnixListener, type UnixListenOptions } from "../unix-socket.ts";
import { encodeFrame, type Frame, FrameReader, frameFlag, frameType } from "./frame.ts";
import { Inbox, type TtrpcStream } from "./stream.ts";
import type { TtrpcTransport } from "./transport.ts";

/** A call, as its handler sees it. */
export interface TtrpcCall {
  /** Aborted at the caller's deadline and when the connection is lost. */
  readonly signal: AbortSignal;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The handler of a method. */
export type TtrpcHandler =
  | {
      readonly kind: "unary";
      readonly handle: (request: Uint8Array, call: TtrpcCall) => Promise<Uint8Array>;
    }
  | {
      readonly kind: "stream";
      readonly handle: (request: Uint8Array, stream: TtrpcStream, call: TtrpcCall) => Promise<void>;
    };

/** Options of a server. */
export interface TtrpcServerOptions {
  /** By `service/method`. */
  readonly methods: ReadonlyMap<string, TtrpcHandler>;
  readonly log: Logger;
  /** Concurrent calls of one connection, 1024 if not given; further ones fail with `resource-exhausted`. */
  readonly maxCalls?: number;
}

const defaultMaxCalls = 1024;
/** A peer that does not read more than this is disconnected. */
const maxUnsentBytes = 64 * 1024 * 1024;
/** The longest message of a failure. */
const maxMessageBytes = 64 * 1024;

/** The entry of TtrpcServerOptions.methods for a method of a generated service. */
export function unaryMethod<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  handle: (request: MessageShape<I>, call: TtrpcCall) => Promise<MessageInitShape<O>>,
  service = method.parent.typeName,
): readonly [name: string, handler: TtrpcHandler] {
  return [
    `${service}/${method.name}`,
    {
      kind: "unary",
      handle: async (bytes, call) => {
        const request = decodeRequest(method, bytes);
        return toBinary(method.output, create(method.output, await handle(request, call)));
      },
    },
  ];
}

/** Serves ttrpc on a unix socket. A connection with invalid data is closed; others continue. */
export class TtrpcServer {
  readonly #server: Server;
  readonly #connections = new Set<TtrpcConnection>();
  #listener: UnixListener | undefined;

  constructor(options: TtrpcServerOptions) {
    this.#server = createServer((socket) => {
      const connection = new TtrpcConnection(socket, options);
      this.#connections.add(connection);
      socket.once("close", () => this.#connections.delete(connection));
    });
  }

  /** Starts to serve `path`; see listenUnix. */
  async listen(path: string, options: UnixListenOptions): Promise<void> {
    this.#listener = await listenUnix(this.#server, path, options);
  }

  /** Closes all connections and removes the socket. Idempotent. */
  async stop(): Promise<void> {
    const closed = this.#listener?.close();
    for (const connection of this.#connections) connection.close();
    await closed;
    this.#listener = undefined;
  }
}

/** A running call. */
interface Call {
  readonly abort: AbortController;
  /** Undefined for a unary call. */
  readonly inbox: Inbox | undefined;
  release(): void;
}

/** Serves one connection: of a server, or a logical one of a Multiplexer. */
export class TtrpcConnection {
  readonly #socket: TtrpcTransport;
  readonly #methods: ReadonlyMap<string, TtrpcHandler>;
  readonly #log: Logger;
  readonly #maxCalls: number;
  readonly #reader = new FrameReader();
  readonly #calls = new Map<number, Call>();
  #lastId = 0;

  constructor(socket: TtrpcTransport, options: TtrpcServerOptions) {
    this.#socket = socket;
    this.#methods = options.methods;
    this.#log = options.log;
    this.#maxCalls = options.maxCalls ?? defaultMaxCalls;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => this.#closed());
  }

  close(): void {
    this.#socket.destroy();
  }

  #closed(): void {
    const gone = new RuntimeError("canceled", "the caller disconnected");
    for (const call of this.#calls.values()) {
      call.abort.abort(gone);
      call.inbox?.end(gone);
      call.release();
    }
    this.#calls.clear();
  }

  #read(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) this.#handle(frame);
    } catch (error) {
      this.#log.warn(`closed a ttrpc connection: ${messageOf(error)}`);
      this.close();
    }
  }

  #handle(frame: Frame): void {
    const { streamId, type } = frame;
    if (type === frameType.data) {
      this.#handleData(frame);
      return;
    }
    if (type !== frameType.request || streamId % 2 === 0 || streamId <= this.#lastId) {
      throw new RuntimeError(
        "data-loss",
        `a frame must be a request with a new odd stream id; it is type ${type}, stream ${streamId}`,
      );
    }
    this.#lastId = streamId;
    if (frame.oversized) {
      this.#fail(
        streamId,
        new RuntimeError("resource-exhausted", "the request exceeds the size limit"),
      );
      return;
    }
    let request: Request;
    try {
      request = decodeBounded(RequestSchema, frame.data);
    } catch (cause) {
      throw new RuntimeError("data-loss", `request: ${messageOf(cause)}`, { cause });
    }
    void this.#serve(frame, request);
  }

  #handleData(frame: Frame): void {
    // Data for a call that has ended is not an error.
    const inbox = this.#calls.get(frame.streamId)?.inbox;
    if (inbox === undefined) return;
    if (frame.oversized) {
      inbox.end(
        new RuntimeError("resource-exhausted", "a message of the stream exceeds the size limit"),
      );
    } else if ((frame.flags & frameFlag.noData) === 0) {
      inbox.push(frame.data);
    }
    if ((frame.flags & frameFlag.remoteClosed) !== 0) inbox.end();
  }

  async #serve(frame: Frame, request: Request): Promise<void> {
    const { streamId } = frame;
    const name = `${request.service}/${request.method}`;
    const handler = this.#methods.get(name);
    try {
      if (handler === undefined) {
        throw new RuntimeError("unimplemented", `call ${name}: no such method`);
      }
      if (this.#calls.size >= this.#maxCalls) {
        throw new RuntimeError("resource-exhausted", `call ${name}: too many concurrent calls`);
      }
      const call = this.#begin(streamId, request, handler.kind === "stream");
      const facts = {
        signal: call.abort.signal,
        metadata: Object.fromEntries(request.metadata.map(({ key, value }) => [key, value])),
      };
      if (handler.kind === "unary") {
        this.#sendResponse(streamId, await handler.handle(request.payload, facts));
        return;
      }
      const inbox = call.inbox ?? new Inbox();
      if ((frame.flags & frameFlag.remoteOpen) === 0) inbox.end();
      const stream = this.#stream(streamId, inbox);
      await handler.handle(request.payload, stream, facts);
      stream.closeSend();
    } catch (error) {
      this.#fail(streamId, error);
    } finally {
      this.#calls.get(streamId)?.release();
      this.#calls.delete(streamId);
    }
  }

  #begin(streamId: number, request: Request, isStream: boolean): Call {
    const abort = new AbortController();
    const timeoutMs = Number(request.timeoutNano / 1_000_000n);
    const timer =
      request.timeoutNano > 0n
        ? setTimeout(
            () =>
              abort.abort(
                new RuntimeError("deadline-exceeded", "the caller's deadline has passed"),
              ),
            Math.min(timeoutMs, maxTimerMs),
          )
        : undefined;
    const call = {
      abort,
      inbox: isStream ? new Inbox() : undefined,
      release: () => clearTimeout(timer),
    };
    this.#calls.set(streamId, call);
    return call;
  }

  #stream(streamId: number, inbox: Inbox): TtrpcStream {
    let open = true;
    return {
      send: (message) => {
        if (!open) {
          throw new RuntimeError("failed-precondition", "send on a stream: this side is closed");
        }
        this.#write(encodeFrame({ streamId, type: frameType.data, flags: 0 }, message));
      },
      closeSend: () => {
        if (!open) return;
        open = false;
        const flags = frameFlag.remoteClosed | frameFlag.noData;
        this.#write(encodeFrame({ streamId, type: frameType.data, flags }));
      },
      [Symbol.asyncIterator]: () => inbox[Symbol.asyncIterator](),
    };
  }

  #sendResponse(streamId: number, payload: Uint8Array): void {
    const bytes = toBinary(ResponseSchema, create(ResponseSchema, { payload }));
    this.#write(encodeFrame({ streamId, type: frameType.response, flags: 0 }, bytes));
  }

  #fail(streamId: number, error: unknown): void {
    const status = { code: grpcCodeOfKind[kindOf(error)], message: truncated(messageOf(error)) };
    const bytes = toBinary(ResponseSchema, create(ResponseSchema, { status }));
    this.#write(encodeFrame({ streamId, type: frameType.response, flags: 0 }, bytes));
  }

  #write(bytes: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(bytes);
    if (this.#socket.writableLength > maxUnsentBytes) this.close();
  }
}

/** The message of a failure, truncated to fit a frame. */
function truncated(message: string): string {
  const bytes = Buffer.from(message);
  return bytes.length <= maxMessageBytes ? message : bytes.toString("utf8", 0, maxMessageBytes);
}
