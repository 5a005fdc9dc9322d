import { connect } from "node:net";

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { isKind, kindOf, messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { maxTimerMs } from "../../base/time.ts";
import { RequestSchema, type Response, ResponseSchema } from "../../gen/ttrpc/call_pb.ts";
import { grpcOk, kindOfGrpcCode } from "../grpc/status.ts";
import { decodeBounded } from "../protobuf.ts";
import { checkSocketPath, connectError } from "../unix-socket.ts";
import { encodeFrame, type Frame, FrameReader, frameFlag, frameType } from "./frame.ts";
import { Inbox, type TtrpcStream } from "./stream.ts";
import type { TtrpcTransport } from "./transport.ts";

/** Options of a single call. */
export interface TtrpcCallOptions {
  /** Aborted when the caller no longer waits for the response. The protocol cannot cancel a call on the server. */
  readonly signal?: AbortSignal;
  /** The call fails with `deadline-exceeded` after this time; the server gets this deadline. 0: never. */
  readonly timeoutMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** The name of a method on the wire. */
export interface TtrpcMethod {
  /** Full name of the service. */
  readonly service: string;
  readonly method: string;
}

/** A call that waits for its frames. */
interface Pending {
  onFrame(frame: Frame): void;
  fail(error: RuntimeError): void;
}

const lastStreamId = 2 ** 32 - 1;
/** The connection to a peer that does not read more than this is closed. */
const maxUnsentBytes = 64 * 1024 * 1024;

/** A failure that the server answered: its status. All other failures are of the connection or of this side. */
export class TtrpcStatusError extends RuntimeError {}

/**
 * A connection to a ttrpc server for concurrent calls; messages are bytes. All failures are
 * RuntimeErrors. When the connection is lost, all calls fail with `unavailable` at once, and so
 * do later ones: the owner has to connect again.
 */
export class TtrpcClient implements Disposable {
  /** Resolves with the reason when the connection is closed by either side. */
  readonly closed: Promise<RuntimeError>;
  readonly #socket: TtrpcTransport;
  readonly #peer: string;
  readonly #reader = new FrameReader();
  readonly #pending = new Map<number, Pending>();
  readonly #onClosed: (reason: RuntimeError) => void;
  #nextId = 1;
  #closedReason: RuntimeError | undefined;

  /** `peer` is the name of the peer in errors. */
  constructor(socket: TtrpcTransport, peer: string) {
    const { promise, resolve } = Promise.withResolvers<RuntimeError>();
    this.closed = promise;
    this.#onClosed = resolve;
    this.#socket = socket;
    this.#peer = peer;
    socket.on("data", (chunk) => this.#read(chunk));
    socket.on("error", (cause) => this.#end(`connection to "${peer}": ${messageOf(cause)}`));
    socket.on("close", () => this.#end(`connection to "${peer}": the peer closed it`));
  }

  /**
   * Connects to a unix socket; a path that begins with NUL is an abstract name (unix(7)).
   * `unavailable` when no process serves it, `deadline-exceeded` when it does not accept in time.
   */
  static connect(path: string, options: TtrpcCallOptions = {}): Promise<TtrpcClient> {
    const { promise, resolve, reject } = Promise.withResolvers<TtrpcClient>();
    checkSocketPath(path);
    const socket = connect(path);
    const stop = stopper(options, (error) => {
      socket.destroy();
      reject(wrap(`connect to "${path}"`, error));
    });
    socket.once("error", (cause) => {
      stop();
      reject(connectError(path, cause));
    });
    socket.once("connect", () => {
      stop();
      socket.removeAllListeners("error");
      resolve(new TtrpcClient(socket, path));
    });
    return promise;
  }

  /** Calls a method with one response. Rejects with the server's status as a kind. */
  unary(
    method: TtrpcMethod,
    request: Uint8Array,
    options: TtrpcCallOptions = {},
  ): Promise<Uint8Array> {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    const name = nameOf(method);
    const id = this.#open(name, {
      onFrame: (frame) => {
        settle();
        if (frame.type !== frameType.response) {
          this.#protocolError(`response of ${name} is a frame of type ${frame.type}`);
          reject(unavailable(`call ${name}: malformed response`));
          return;
        }
        try {
          resolve(this.#payloadOf(name, frame));
        } catch (error) {
          reject(error);
        }
      },
      fail: (error) => {
        settle();
        reject(error);
      },
    });
    const stop = stopper(options, (error) => {
      settle();
      reject(wrap(`call ${name}`, error));
    });
    const settle = (): void => {
      stop();
      this.#pending.delete(id);
      this.#unrefIfIdle();
    };
    this.#send(id, { flags: 0, method, request, options });
    return promise;
  }

  /**
   * Opens a stream (protocol 1.2). The server's messages are read by iterating, which throws the
   * server's status; leaving the loop or `signal` ends the stream on this side.
   */
  stream(
    method: TtrpcMethod,
    request: Uint8Array,
    options: TtrpcCallOptions & { readonly sends?: boolean } = {},
  ): TtrpcStream {
    const name = nameOf(method);
    const inbox = new Inbox();
    const id = this.#open(name, {
      onFrame: (frame) => {
        if (this.#onStreamFrame(name, frame, inbox)) settle();
      },
      fail: (error) => {
        settle();
        inbox.end(error);
      },
    });
    const stop = stopper(options, (error) => {
      settle();
      inbox.end(wrap(`call ${name}`, error));
    });
    const settle = (): void => {
      stop();
      if (this.#pending.delete(id)) this.#unrefIfIdle();
    };
    let open = options.sends === true;
    const flags = open ? frameFlag.remoteOpen : frameFlag.remoteClosed;
    this.#send(id, { flags, method, request, options });
    const closeSend = (): void => {
      if (!open) return;
      open = false;
      const last = frameFlag.remoteClosed | frameFlag.noData;
      if (this.#closedReason === undefined)
        this.#write(encodeFrame({ streamId: id, type: frameType.data, flags: last }));
    };
    return {
      send: (message) => {
        if (!open) {
          throw new RuntimeError("failed-precondition", `send on ${name}: this side is closed`);
        }
        if (this.#closedReason !== undefined) throw this.#closedReason;
        this.#write(encodeFrame({ streamId: id, type: frameType.data, flags: 0 }, message));
      },
      closeSend,
      async *[Symbol.asyncIterator]() {
        try {
          yield* inbox;
        } finally {
          closeSend();
          settle();
        }
      },
    };
  }

  /** Calls a method of a generated service. `service` is its name on the wire if that differs. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: TtrpcCallOptions & { readonly service?: string } = {},
  ): Promise<MessageShape<O>> {
    const names = { service: options.service ?? method.parent.typeName, method: method.name };
    const bytes = toBinary(method.input, create(method.input, request));
    const response = await this.unary(names, bytes, options);
    try {
      return decodeBounded(method.output, response);
    } catch (cause) {
      throw wrap(`call ${nameOf(names)}: malformed response`, cause);
    }
  }

  /** The connection no longer keeps the process running. */
  unref(): void {
    this.#socket.unref();
  }

  /** Closes the connection; running calls fail with `unavailable`. Idempotent. */
  close(): void {
    this.#end(`connection to "${this.#peer}": closed by this side`);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(name: string, pending: Pending): number {
    if (this.#closedReason !== undefined) throw wrap(`call ${name}`, this.#closedReason);
    if (this.#nextId > lastStreamId) {
      this.#end(`connection to "${this.#peer}": no stream ids are left`);
      throw unavailable(`call ${name}: no stream ids of the connection are left`);
    }
    const id = this.#nextId;
    this.#nextId += 2;
    this.#pending.set(id, pending);
    this.#socket.ref();
    return id;
  }

  #send(
    id: number,
    call: {
      readonly flags: number;
      readonly method: TtrpcMethod;
      readonly request: Uint8Array;
      readonly options: TtrpcCallOptions;
    },
  ): void {
    const { method, request, options } = call;
    const timeoutMs = options.timeoutMs ?? 0;
    const message = create(RequestSchema, {
      ...method,
      payload: request,
      timeoutNano: timeoutMs > 0 ? BigInt(Math.ceil(timeoutMs)) * 1_000_000n : 0n,
      metadata: Object.entries(options.metadata ?? {}).map(([key, value]) => ({ key, value })),
    });
    const frame = { streamId: id, type: frameType.request, flags: call.flags };
    try {
      this.#write(encodeFrame(frame, toBinary(RequestSchema, message)));
    } catch (error) {
      this.#pending.get(id)?.fail(wrap(`call ${nameOf(method)}`, error));
    }
  }

  #write(bytes: Buffer): void {
    this.#socket.write(bytes);
    if (this.#socket.writableLength <= maxUnsentBytes) return;
    this.#end(
      `connection to "${this.#peer}": closed, because the peer does not read: ${maxUnsentBytes} bytes were not sent`,
    );
  }

  #read(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (frame.streamId % 2 === 0 || frame.streamId >= this.#nextId) {
          this.#protocolError(`it responds on stream ${frame.streamId}, which was not opened`);
          return;
        }
        // A response for a call that has ended is not an error.
        this.#pending.get(frame.streamId)?.onFrame(frame);
        if (this.#closedReason !== undefined) return;
      }
    } catch (error) {
      this.#protocolError(messageOf(error));
    }
  }

  /** True when the stream has ended. */
  #onStreamFrame(name: string, frame: Frame, inbox: Inbox): boolean {
    try {
      if (frame.type === frameType.response) {
        const payload = this.#payloadOf(name, frame);
        if (payload.length > 0) inbox.push(payload);
        inbox.end();
        return true;
      }
      if (frame.oversized) throw tooLarge(name);
      if ((frame.flags & frameFlag.noData) === 0 && !inbox.push(frame.data)) return true;
      if ((frame.flags & frameFlag.remoteClosed) === 0) return false;
      inbox.end();
    } catch (error) {
      inbox.end(error as RuntimeError);
    }
    return true;
  }

  #payloadOf(name: string, frame: Frame): Uint8Array {
    if (frame.oversized) throw tooLarge(name);
    let response: Response;
    try {
      response = decodeBounded(ResponseSchema, frame.data);
    } catch (cause) {
      this.#protocolError(`response of ${name}: ${messageOf(cause)}`);
      throw unavailable(`call ${name}: malformed response: ${messageOf(cause)}`);
    }
    const { status } = response;
    if (status === undefined || status.code === grpcOk) return response.payload;
    throw new TtrpcStatusError(kindOfGrpcCode(status.code), status.message);
  }

  #protocolError(what: string): void {
    this.#end(
      `connection to "${this.#peer}": closed, because the peer does not speak ttrpc: ${what}`,
    );
  }

  #end(text: string): void {
    if (this.#closedReason !== undefined) return;
    const reason = unavailable(text);
    this.#closedReason = reason;
    this.#socket.destroy();
    for (const pending of [...this.#pending.values()]) pending.fail(reason);
    this.#onClosed(reason);
  }

  /** An idle connection does not keep the process running. */
  #unrefIfIdle(): void {
    if (this.#pending.size === 0) this.#socket.unref();
  }
}

function nameOf({ service, method }: TtrpcMethod): string {
  return `${service}/${method}`;
}

function unavailable(text: string): RuntimeError {
  return new RuntimeError("unavailable", text);
}

function tooLarge(name: string): RuntimeError {
  return new RuntimeError(
    "resource-exhausted",
    `call ${name}: its response exceeds the size limit`,
  );
}

/** Calls `onStop` once at the options' timeout or abort, unless the result was called before. */
function stopper(options: TtrpcCallOptions, onStop: (error: RuntimeError) => void): () => void {
  const { signal, timeoutMs } = options;
  const stop = (error: RuntimeError): void => {
    release();
    onStop(error);
  };
  const onAbort = (): void => {
    const reason: unknown = signal?.reason;
    const kind = isKind(reason, "unknown") ? "canceled" : kindOf(reason);
    stop(new RuntimeError(kind, messageOf(reason), { cause: reason }));
  };
  const timer =
    timeoutMs === undefined || timeoutMs <= 0
      ? undefined
      : setTimeout(
          () => stop(new RuntimeError("deadline-exceeded", `no response after ${timeoutMs} ms`)),
          Math.min(timeoutMs, maxTimerMs),
        );
  const release = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted === true) queueMicrotask(onAbort);
  return release;
}
