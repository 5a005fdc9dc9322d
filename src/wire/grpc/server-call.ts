import { constants, type ServerHttp2Stream, type ServerStreamResponseOptions } from "node:http2";
import { performance } from "node:perf_hooks";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Call, CallEnd, Method, ServerStreamMethod } from "./call.ts";
import { encodeStatusMessage, MessageReader, tooLarge, writeMessage } from "./codec.ts";
import { type GrpcStatus, grpcCodeOfKind, grpcOk } from "./status.ts";
import type { CallScheduler } from "./call-scheduler.ts";

/** What a call needs from the server it came to. */
export interface CallHost {
  readonly maxMessageBytes: number;
  readonly logger: Logger;
  /** Bytes of requests that are not complete yet, over all calls, and how many there may be. */
  readonly receiving: { bytes: number; readonly maxBytes: number };
  /** When a call whose request is complete may begin. */
  readonly turns: CallScheduler;
  readonly toStatus: (error: unknown) => GrpcStatus;
  readonly onCall: ((call: Call) => ((end: CallEnd) => void) | undefined) | undefined;
}

/** What a call is, from its headers. */
export interface CallFacts {
  readonly id: number;
  readonly path: string;
  readonly method: Method;
  /** Milliseconds the client waits; undefined: forever. */
  readonly timeoutMs: number | undefined;
}

// No `date`: nobody reads it, and it would be 30 bytes and a formatted string a call. The raw list
// spares Node the walk over an object.
type AnswerOptions = ServerStreamResponseOptions & { readonly sendDate: false };
const answerOptions: AnswerOptions = { waitForTrailers: true, sendDate: false };
const trailersOnlyOptions: AnswerOptions = { endStream: true, sendDate: false };
const answerHeaders: readonly string[] = [":status", "200", "content-type", "application/grpc"];
const okTrailers = { "grpc-status": String(grpcOk) };

/** Longest delay a Node timer takes; a longer one would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** Encoded details longer than this are left out, so that the status itself arrives. */
const maxDetailsBytes = 8 * 1024;

const okStatus: GrpcStatus = { code: grpcOk, message: "" };

const callOf = Symbol("call");

/** The stream of a call, which knows it until it closes. */
interface CallStream extends ServerHttp2Stream {
  [callOf]?: ServerCall | undefined;
}

/**
 * One call on its HTTP/2 stream, from its headers to its status. It ends once, by whichever comes
 * first: the handler's answer, a failure, the deadline, or the caller leaving. What comes later is
 * dropped.
 */
export class ServerCall implements Call {
  // What every stream of a call listens with. Functions of the stream, not of the call: there are
  // no closures to make for each call, and a closed stream keeps nothing of its call alive.
  // NOTE(node): a session's table of streams keeps some of them until the next major collection, as
  // a Set of calls would (daemon/calls.ts).
  static readonly #onData = function (this: CallStream, chunk: Buffer): void {
    const call = this[callOf];
    if (call !== undefined) call.#receive(chunk);
  };
  static readonly #onEnd = function (this: CallStream): void {
    const call = this[callOf];
    if (call !== undefined) call.#received();
  };
  static readonly #onWantTrailers = function (this: CallStream): void {
    const call = this[callOf];
    if (call !== undefined && !this.destroyed && !this.closed) this.sendTrailers(call.#trailers);
  };
  static readonly #onClose = function (this: CallStream): void {
    const call = this[callOf];
    if (call !== undefined) call.#closed();
    this[callOf] = undefined;
  };

  readonly method: string;
  readonly id: number;
  readonly startedAt = Date.now();
  readonly deadline?: number;

  readonly #stream: CallStream;
  readonly #host: CallHost;
  readonly #target: Method;
  readonly #reader: MessageReader;
  readonly #begun = performance.now();
  readonly #tell: ((end: CallEnd) => void) | undefined;
  #controller: AbortController | undefined;
  /** Why the signal is aborted, kept because most handlers never ask for the signal. */
  #left: RuntimeError | undefined;
  #timer: NodeJS.Timeout | undefined;
  #request: Buffer | undefined;
  #receiving = 0;
  #answers: AsyncIterator<Uint8Array> | undefined;
  #wake: (() => void) | undefined;
  #trailers: Readonly<Record<string, string>> = okTrailers;
  #ended = false;
  #requestBytes = 0;
  #responseBytes = 0;

  constructor(stream: ServerHttp2Stream, facts: CallFacts, host: CallHost) {
    this.#stream = stream;
    this.#host = host;
    this.#target = facts.method;
    this.method = facts.path;
    this.id = facts.id;
    this.#reader = new MessageReader(host.maxMessageBytes);
    if (facts.timeoutMs !== undefined) {
      this.deadline = this.startedAt + facts.timeoutMs;
      if (facts.timeoutMs <= maxTimerMs) {
        this.#timer = setTimeout(() => this.#expire(), facts.timeoutMs);
      }
    }
    this.#tell = host.onCall?.(this);
    this.#stream[callOf] = this;
    stream.on("data", ServerCall.#onData);
    stream.on("end", ServerCall.#onEnd);
    stream.on("close", ServerCall.#onClose);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#left !== undefined) this.#controller.abort(this.#left);
    }
    return this.#controller.signal;
  }

  #receive(chunk: Buffer): void {
    if (this.#ended) return;
    const { receiving } = this.#host;
    try {
      for (const message of this.#reader.push(chunk)) {
        if (this.#request !== undefined) throw wrongNumber("more than one request");
        this.#request = message;
        this.#requestBytes = message.length;
      }
      const held = this.#reader.heldBytes;
      receiving.bytes += held - this.#receiving;
      this.#receiving = held;
      if (receiving.bytes > receiving.maxBytes) {
        throw new RuntimeError(
          "resource-exhausted",
          `read request: too many large requests are on their way at once: try again later`,
        );
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #received(): void {
    if (this.#ended) return;
    this.#release();
    try {
      this.#reader.end();
    } catch (error) {
      this.#fail(error);
      return;
    }
    const request = this.#request;
    if (request === undefined) {
      this.#fail(wrongNumber("no request"));
      return;
    }
    this.#request = undefined;
    this.#host.turns.begin(() => {
      // It may have been given up while it waited for its turn.
      if (this.#ended) return;
      this.#run(request).catch((error: unknown) => this.#fail(error));
    });
  }

  async #run(request: Uint8Array): Promise<void> {
    const target = this.#target;
    if (target.kind === "server-stream") await this.#pump(target, request);
    else this.#answer(await target.handle(request, this));
  }

  #answer(message: Uint8Array): void {
    if (this.#gone()) return;
    this.#checkSize(message);
    this.#responseBytes = message.length;
    this.#respond(okStatus, message);
  }

  async #pump(target: ServerStreamMethod, request: Uint8Array): Promise<void> {
    const answers = target.handle(request, this)[Symbol.asyncIterator]();
    this.#answers = answers;
    this.#stream.on("drain", () => this.#wake?.());
    for (;;) {
      const step = await answers.next();
      if (this.#gone()) return;
      if (step.done === true) break;
      this.#checkSize(step.value);
      this.#responseBytes += step.value.length;
      if (!this.#stream.headersSent) this.#stream.respond(answerHeaders, answerOptions);
      if (!writeMessage(this.#stream, step.value, false)) await this.#drained();
      if (this.#gone()) return;
    }
    this.#answers = undefined;
    this.#respond(okStatus, undefined);
  }

  /** Until the client has taken what lies in the stream's buffer, or the call has ended. */
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
    if (message.length > limit) throw tooLarge("send answer", message.length, limit);
  }

  /** True when there is nobody to answer: ended already, or reset a moment ago. */
  #gone(): boolean {
    return this.#ended || this.#stream.destroyed || this.#stream.closed;
  }

  #fail(error: unknown): void {
    if (this.#gone()) return;
    let status: GrpcStatus;
    try {
      status = this.#host.toStatus(error);
    } catch (cause) {
      this.#host.logger.error("no status for an error", { method: this.method, error: cause });
      status = { code: grpcCodeOfKind.internal, message: messageOf(error) };
    }
    this.#respond(status, undefined);
  }

  /** Ends the call with a status. An answer, if there is one, goes before it in the same go. */
  #respond(status: GrpcStatus, message: Uint8Array | undefined): void {
    const stream = this.#stream;
    if (message === undefined && !stream.headersSent) {
      respondTrailersOnly(stream, status);
    } else {
      this.#trailers = trailersOf(status);
      // Emitted when the last DATA frame has gone out, so a stalled client delays it.
      stream.on("wantTrailers", ServerCall.#onWantTrailers);
      if (!stream.headersSent) stream.respond(answerHeaders, answerOptions);
      if (message === undefined) stream.end();
      else writeMessage(stream, message, true);
    }
    this.#end(status);
  }

  #expire(): void {
    if (this.#gone()) return;
    const message = `call "${this.method}": the caller's deadline passed`;
    this.#left = new RuntimeError("deadline-exceeded", message);
    const status = { code: grpcCodeOfKind["deadline-exceeded"], message };
    if (this.#stream.writableLength > 0) {
      // Trailers would queue behind data that the client does not read.
      this.#end(status);
      this.#stream.close(constants.NGHTTP2_CANCEL);
    } else {
      this.#respond(status, undefined);
    }
  }

  #closed(): void {
    if (this.#ended) return;
    const message = `call "${this.method}": the caller canceled it or disconnected`;
    this.#left = new RuntimeError("canceled", message);
    this.#end({ code: grpcCodeOfKind.canceled, message });
  }

  #end(status: GrpcStatus): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#release();
    this.#request = undefined;
    this.#wake?.();
    if (this.#left !== undefined) this.#controller?.abort(this.#left);
    // Not awaited: a generator gets to it only after what it waits for now.
    this.#answers?.return?.().catch(() => undefined);
    this.#tell?.({
      code: status.code,
      message: status.message,
      requestBytes: this.#requestBytes,
      responseBytes: this.#responseBytes,
      durationMs: performance.now() - this.#begun,
    });
  }

  #release(): void {
    this.#host.receiving.bytes -= this.#receiving;
    this.#receiving = 0;
  }
}

/**
 * Answers with a status alone, in one HEADERS frame. If the client is still sending its request,
 * the stream is then closed without error, which RFC 9113 section 8.1 gives for "no need to go on".
 */
export function respondTrailersOnly(
  stream: ServerHttp2Stream,
  status: GrpcStatus,
  more: Readonly<Record<string, string>> = {},
): void {
  stream.respond(
    { ":status": 200, "content-type": "application/grpc", ...trailersOf(status), ...more },
    trailersOnlyOptions,
  );
  stream.resume();
  if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
}

function trailersOf(status: GrpcStatus): Record<string, string> {
  if (status.code === grpcOk) return okTrailers;
  const trailers: Record<string, string> = {
    "grpc-status": String(status.code),
    "grpc-message": encodeStatusMessage(status.message),
  };
  if (status.details !== undefined && status.details.length <= maxDetailsBytes) {
    // PROTOCOL-HTTP2.md: senders of binary headers should leave out the padding.
    trailers["grpc-status-details-bin"] = Buffer.from(status.details)
      .toString("base64")
      .replace(/=+$/, "");
  }
  return trailers;
}

function wrongNumber(got: string): RuntimeError {
  // The code that doc/statuscodes.md gives for a wrong number of requests.
  return new RuntimeError("unimplemented", `read request: want exactly one, got ${got}`);
}
