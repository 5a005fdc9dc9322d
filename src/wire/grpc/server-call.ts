import { performance } from "node:perf_hooks";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { encodeHeaders, type HeaderField } from "../http2/hpack/index.ts";
import { errorCode } from "../http2/protocol.ts";
import type { ServerStream, StreamHandler } from "../http2/stream.ts";
import type { Call, CallEnd, Method, Peer } from "./call.ts";
import type { CallScheduler } from "./call-scheduler.ts";
import { encodeStatusMessage, MessageReader, messagePrefix, tooLarge } from "./codec.ts";
import type { Deadlines, TimedCall } from "./deadlines.ts";
import { callIsOver, RequestQueue } from "./request-queue.ts";
import { type GrpcStatus, grpcCodeOfKind, grpcOk } from "./status.ts";

/** The parts of the server that a call uses. */
export interface CallHost {
  readonly maxMessageBytes: number;
  readonly logger: Logger;
  /** Bytes of requests of all calls that have not been received to their end, and their limit. */
  readonly receiving: { bytes: number; readonly maxBytes: number; readonly calls: Set<ServerCall> };
  /** Starts calls whose request is complete. */
  readonly scheduler: CallScheduler;
  readonly toStatus: (error: unknown) => GrpcStatus;
  readonly onCall: ((call: Call) => ((end: CallEnd) => void) | undefined) | undefined;
  readonly deadlines: Deadlines;
}

/** The properties of a call from its headers. */
export interface CallFacts {
  readonly id: number;
  readonly path: string;
  readonly method: Method;
  /** How long the client waits, in milliseconds; undefined: forever. */
  readonly timeoutMs: number | undefined;
  readonly peer: Peer | undefined;
}

const responseFields: readonly HeaderField[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
];

// The header blocks of nearly all responses.
const responseBlock = encodeHeaders(responseFields);
const okTrailersBlock = encodeHeaders([["grpc-status", String(grpcOk)]]);

/** Longer encoded details are left out, so that the client gets the status itself. */
const maxDetailsBytes = 8 * 1024;

const okStatus: GrpcStatus = { code: grpcOk, message: "" };

/**
 * One call on its HTTP/2 stream, from its headers to its status. It ends once, with the first of these:
 * the response of the handler, a failure, the deadline, or the disconnection of the caller. Later events are
 * ignored.
 */
export class ServerCall implements Call, StreamHandler, TimedCall {
  readonly method: string;
  readonly id: number;
  readonly startedAt = Date.now();
  readonly deadline?: number;
  readonly peer: Peer | undefined;

  expiresAtMs = Number.POSITIVE_INFINITY;
  deadlineIndex = -1;

  readonly #stream: ServerStream;
  readonly #host: CallHost;
  readonly #target: Method;
  readonly #reader: MessageReader;
  readonly #startMs = performance.now();
  readonly #onEnded: ((end: CallEnd) => void) | undefined;
  #controller: AbortController | undefined;
  /** Why the signal is aborted. It is stored because most handlers never use the signal. */
  #abortReason: RuntimeError | undefined;
  #request: Buffer | undefined;
  /** Only of a method with a stream of requests. */
  readonly #requests: RequestQueue | undefined;
  #receiving = 0;
  /** Bytes that arrived after the end. */
  #dropped = 0;
  #responses: AsyncIterator<Uint8Array> | undefined;
  #wake: (() => void) | undefined;
  #ended = false;
  #requestBytes = 0;
  #responseBytes = 0;

  constructor(stream: ServerStream, facts: CallFacts, host: CallHost) {
    this.#stream = stream;
    this.#host = host;
    this.#target = facts.method;
    this.method = facts.path;
    this.id = facts.id;
    this.peer = facts.peer;
    this.#reader = new MessageReader(host.maxMessageBytes);
    if (facts.timeoutMs !== undefined) {
      this.deadline = this.startedAt + facts.timeoutMs;
      this.expiresAtMs = this.#startMs + facts.timeoutMs;
      host.deadlines.add(this);
    }
    this.#onEnded = host.onCall?.(this);
    stream.handler = this;
    if (facts.method.kind === "stream") {
      this.#requests = new RequestQueue(stream);
      const answers = facts.method.handle(this.#requests, this);
      this.#begin(() => this.#pump(answers));
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  sendHeaders(): void {
    if (this.#hasEnded() || this.#stream.headersSent) return;
    this.#stream.respond(responseBlock);
  }

  metadata(name: string): string | undefined {
    return this.#stream.head.get(name);
  }

  /** Bytes of the requests have arrived. */
  onData(chunk: Buffer, endsSoon: boolean): void {
    if (this.#ended) {
      this.#drop(chunk.length);
      return;
    }
    const { receiving } = this.#host;
    try {
      for (const message of this.#reader.push(chunk)) {
        this.#requestBytes += message.length;
        if (this.#requests !== undefined) {
          this.#requests.push(message);
          continue;
        }
        if (this.#request !== undefined) throw wrongNumber("there are several");
        // Until the end arrives, if it does, it must not keep the whole chunk that was read.
        this.#request = endsSoon ? message : owned(message);
      }
      // A request that is complete waits for the end of the stream, which the client may never send.
      const held = this.#reader.heldBytes + (this.#request?.length ?? 0);
      receiving.bytes += held - this.#receiving;
      this.#receiving = held;
      // One whose last frame this is has ended before another could look.
      if (held > 0 && !endsSoon) receiving.calls.add(this);
    } catch (error) {
      this.#fail(error);
    }
    if (receiving.bytes > receiving.maxBytes) this.#failLargest();
  }

  /** Clients that do not end large requests must not stop the small ones of others. */
  #failLargest(): void {
    let most = this.#receiving;
    let largest: ServerCall | undefined;
    for (const call of this.#host.receiving.calls) {
      if (call.#receiving <= most) continue;
      most = call.#receiving;
      largest = call;
    }
    (largest ?? this).#fail(
      new RuntimeError(
        "resource-exhausted",
        `read request: too many large requests are being received; try again later`,
      ),
    );
  }

  /** A client that has the status ends its call. One that does not is ended. */
  #drop(bytes: number): void {
    this.#dropped += bytes;
    if (this.#dropped > this.#host.maxMessageBytes) this.#stream.rejectRest();
  }

  /** The client has sent all its requests. */
  onEnd(): void {
    if (this.#ended) return;
    this.#release();
    try {
      this.#reader.end();
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#requests !== undefined) {
      this.#requests.end();
      return;
    }
    const request = this.#request;
    if (request === undefined) {
      this.#fail(wrongNumber("there is none"));
      return;
    }
    this.#request = undefined;
    this.#begin(() => this.#run(request));
  }

  #begin(work: () => Promise<void>): void {
    this.#host.scheduler.schedule(() => {
      // The caller may have canceled it while it waited.
      if (this.#ended) return;
      work().catch((error: unknown) => this.#fail(error));
    });
  }

  async #run(request: Uint8Array): Promise<void> {
    const target = this.#target;
    if (target.kind === "server-stream") await this.#pump(target.handle(request, this));
    else if (target.kind === "unary") this.#sendResponse(await target.handle(request, this));
  }

  #sendResponse(message: Uint8Array): void {
    if (this.#hasEnded()) return;
    this.#checkSize(message);
    this.#responseBytes = message.length;
    this.#respond(okStatus, message);
  }

  async #pump(responses: AsyncIterable<Uint8Array>): Promise<void> {
    const answers = responses[Symbol.asyncIterator]();
    this.#responses = answers;
    for (;;) {
      const step = await answers.next();
      if (this.#hasEnded()) return;
      if (step.done === true) break;
      this.#checkSize(step.value);
      this.#responseBytes += step.value.length;
      this.sendHeaders();
      if (!this.#send(step.value)) await this.#drained();
      if (this.#hasEnded()) return;
    }
    this.#responses = undefined;
    this.#respond(okStatus, undefined);
  }

  /** Sends a response. False when the stream can take no more now. */
  #send(message: Uint8Array): boolean {
    this.#stream.write(messagePrefix(message.length));
    return this.#stream.write(message);
  }

  /** The stream can take more responses. */
  onDrain(): void {
    this.#wake?.();
  }

  /** Waits until the stream can take more or the call has ended. */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }

  #checkSize(message: Uint8Array): void {
    const limit = this.#host.maxMessageBytes;
    if (message.length > limit) throw tooLarge("send response", message.length, limit);
  }

  /** True when the call has ended or its stream was reset. */
  #hasEnded(): boolean {
    return this.#ended || this.#stream.isClosed;
  }

  #fail(error: unknown): void {
    if (this.#hasEnded()) return;
    let status: GrpcStatus;
    try {
      status = this.#host.toStatus(error);
    } catch (cause) {
      this.#host.logger.error("failed to convert an error to a gRPC status", {
        method: this.method,
        error: cause,
      });
      status = { code: grpcCodeOfKind.internal, message: messageOf(error) };
    }
    this.#respond(status, undefined);
  }

  /** Ends the call with a status, after the response if there is one. */
  #respond(status: GrpcStatus, message: Uint8Array | undefined): void {
    const stream = this.#stream;
    // What arrives from now on is dropped.
    this.#ended = true;
    if (message === undefined && !stream.headersSent) {
      respondTrailersOnly(stream, status);
    } else {
      if (!stream.headersSent) stream.respond(responseBlock);
      if (message !== undefined) this.#send(message);
      stream.end(status.code === grpcOk ? okTrailersBlock : encodeHeaders(trailersOf(status)));
    }
    this.#end(status);
  }

  /** The deadline has passed. */
  expire(): void {
    if (this.#hasEnded()) return;
    const message = `call "${this.method}": the caller's deadline has passed`;
    this.#abortReason = new RuntimeError("deadline-exceeded", message);
    const status = { code: grpcCodeOfKind["deadline-exceeded"], message };
    if (this.#stream.unsentBytes > 0) {
      // Trailers would wait behind data that the client does not read.
      this.#end(status);
      this.#stream.reset(errorCode.cancel);
    } else {
      this.#respond(status, undefined);
    }
  }

  /** The stream is over. */
  onClose(): void {
    if (this.#ended) return;
    const message = `call "${this.method}": the caller canceled it or disconnected`;
    this.#abortReason = new RuntimeError("canceled", message);
    this.#end({ code: grpcCodeOfKind.canceled, message });
  }

  #end(status: GrpcStatus): void {
    this.#ended = true;
    this.#host.deadlines.remove(this);
    this.#release();
    this.#request = undefined;
    this.#requests?.end(this.#abortReason ?? callIsOver(this.method));
    this.#wake?.();
    if (this.#abortReason !== undefined) this.#controller?.abort(this.#abortReason);
    // Not awaited: a generator returns only after the promise that it waits for.
    this.#responses?.return?.().catch(() => undefined);
    this.#onEnded?.({
      code: status.code,
      message: status.message,
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      durationMs: performance.now() - this.#startMs,
    });
  }

  #release(): void {
    this.#host.receiving.bytes -= this.#receiving;
    this.#receiving = 0;
    this.#host.receiving.calls.delete(this);
  }
}

/**
 * Responds with a status alone, in one HEADERS frame. If the client is still sending its request,
 * the stream is then closed without error, as RFC 9113 section 8.1 defines for a request that need not be completed.
 */
export function respondTrailersOnly(
  stream: ServerStream,
  status: GrpcStatus,
  more: readonly HeaderField[] = [],
): void {
  stream.respond(encodeHeaders([...responseFields, ...trailersOf(status), ...more]), true);
  stream.rejectRest();
}

function trailersOf(status: GrpcStatus): readonly HeaderField[] {
  const trailers: HeaderField[] = [["grpc-status", String(status.code)]];
  if (status.code === grpcOk) return trailers;
  trailers.push(["grpc-message", encodeStatusMessage(status.message)]);
  if (status.details !== undefined && status.details.length <= maxDetailsBytes) {
    // PROTOCOL-HTTP2.md: senders of binary headers should omit the padding.
    const details = Buffer.from(status.details).toString("base64").replace(/=+$/, "");
    trailers.push(["grpc-status-details-bin", details]);
  }
  return trailers;
}

/** The message in memory of its own: a copy, if it is in that of a chunk. */
function owned(message: Buffer): Buffer {
  if (2 * message.length >= message.buffer.byteLength) return message;
  const copy = Buffer.allocUnsafeSlow(message.length);
  copy.set(message);
  return copy;
}

function wrongNumber(found: string): RuntimeError {
  // doc/statuscodes.md defines this code for a wrong number of requests.
  return new RuntimeError("unimplemented", `read request: there must be exactly one; ${found}`);
}
