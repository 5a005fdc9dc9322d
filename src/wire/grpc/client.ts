import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { connect as connectSocket } from "node:net";
import { type ErrorKind, kindOf, messageOf } from "../../base/errors.ts";
import { maxTimerMs } from "../../base/time.ts";
import { checkSocketPath, connectError } from "../unix-socket.ts";
import { formatTimeout, MessageReader, writeMessage } from "./codec.ts";
import { sendRequests } from "./request-sender.ts";
import { kindOfReset, type ResponseHeaders, statusOf } from "./response-status.ts";
import { GrpcStatusError, grpcOk, statusError } from "./status.ts";

/** Options of a single call. */
export interface CallOptions {
  /** Cancels the call, also on the server. */
  readonly signal?: AbortSignal;
  /** The call fails with `deadline-exceeded` after this time; the server gets this deadline. */
  readonly timeoutMs?: number;
  /** Metadata of the request, by lower-case name. */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * Called when the headers of a stream of responses have arrived, before its first response. Servers of
   * other implementations may send them only with the first response. Not called for a call that fails
   * before it has a response.
   */
  readonly onOpen?: () => void;
  /** This call alone does not keep the process running. Only for a client with `keepsProcess: false`. */
  readonly background?: boolean;
}

/** Options of a GrpcClient. */
export interface GrpcClientOptions {
  /** The server's unix socket. */
  readonly path: string;
  /** Largest response; 16 MiB, like kubelet, if not given. */
  readonly maxMessageBytes?: number;
  /** false: the open connection keeps the process running only while there are calls; true if not given. */
  readonly keepsProcess?: boolean;
}

const defaultMaxMessageBytes = 16 * 1024 * 1024;

/**
 * Window of a call and of the connection, in bytes: less than a unix socket holds (net.core.wmem_default, 208 KiB).
 *
 * NOTE(node): a session reads nothing while one of its writes waits for the socket. If both sides of a connection were on
 * node:http2 and had more to send than the sockets hold, they would wait for each other forever. With this
 * window the server's writes never wait.
 */
const windowBytes = 64 * 1024 - 1;

/**
 * A gRPC client for one unix socket; messages are bytes. It connects at the first call and again
 * after the connection was lost. All its failures are GrpcStatusErrors.
 */
export class GrpcClient implements Disposable {
  readonly #path: string;
  readonly #maxMessageBytes: number;
  readonly #keepsProcess: boolean;
  #session: Promise<ClientHttp2Session> | undefined;
  #closed = false;
  /** Calls that keep the process running. */
  #calls = 0;

  /** @throws RuntimeError `invalid-argument` for a path that no socket can have. */
  constructor(options: GrpcClientOptions) {
    checkSocketPath(options.path);
    this.#path = options.path;
    this.#maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes;
    this.#keepsProcess = options.keepsProcess ?? true;
  }

  /**
   * Calls a method with one response.
   *
   * @param method path of the method, such as `/runtime.v1.RuntimeService/Version`
   * @throws GrpcStatusError the server's status; `unavailable` when it cannot be reached.
   */
  async unary(method: string, request: Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    let response: Uint8Array | undefined;
    for await (const message of this.serverStream(method, request, options)) {
      if (response !== undefined) {
        throw statusError(
          "internal",
          `call "${method}": there must be one response; there are several`,
        );
      }
      response = message;
    }
    if (response === undefined) {
      throw statusError("internal", `call "${method}": there must be one response; there is none`);
    }
    return response;
  }

  /**
   * Calls a method with a stream of responses. They are read as fast as the caller consumes them;
   * leaving the loop cancels the call.
   *
   * @throws GrpcStatusError like `unary()`, possibly after some responses.
   */
  async *serverStream(
    method: string,
    request: Uint8Array,
    options: CallOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    using exchange = new Exchange(method, options);
    using _call = this.#begin(options);
    const session = await exchange.unlessEnded(this.#connected());
    exchange.send(session, request);
    yield* exchange.responses(new MessageReader(this.#maxMessageBytes));
  }

  /**
   * Calls a method with a stream of requests and one of responses. Requests are read from their source as
   * fast as the server takes them. A failure of the source cancels the call and is thrown unchanged.
   *
   * @throws GrpcStatusError like `unary()`, possibly after some responses.
   */
  async *stream(
    method: string,
    requests: AsyncIterable<Uint8Array>,
    options: CallOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    using exchange = new Exchange(method, options);
    using _call = this.#begin(options);
    const session = await exchange.unlessEnded(this.#connected());
    exchange.sendAll(session, requests);
    yield* exchange.responses(new MessageReader(this.#maxMessageBytes));
  }

  /** Closes the connection; running and later calls fail. */
  close(): void {
    this.#closed = true;
    this.#session?.then(
      (session) => session.destroy(),
      () => undefined,
    );
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Keeps the process running until the result is disposed of. */
  #begin({ background = false }: CallOptions): Disposable {
    if (this.#keepsProcess || background) return { [Symbol.dispose]: () => undefined };
    const change = (by: number): void => {
      this.#calls += by;
      this.#session?.then(
        (session) => this.#keepProcess(session),
        () => undefined,
      );
    };
    change(1);
    return { [Symbol.dispose]: () => change(-1) };
  }

  #keepProcess(session: ClientHttp2Session): void {
    if (this.#keepsProcess || session.destroyed) return;
    if (this.#calls > 0) session.ref();
    else session.unref();
  }

  #connected(): Promise<ClientHttp2Session> {
    if (this.#closed) {
      return Promise.reject(statusError("canceled", `call over "${this.#path}": client is closed`));
    }
    this.#session ??= this.#connect();
    return this.#session;
  }

  #connect(): Promise<ClientHttp2Session> {
    const { promise, resolve, reject } = Promise.withResolvers<ClientHttp2Session>();
    const path = this.#path;
    // The authority that kubelet sends; servers on node:http2 refuse the path as authority.
    const session = connectHttp2("http://localhost", {
      createConnection: () => connectSocket(path),
      settings: { initialWindowSize: windowBytes, enablePush: false },
      // NOTE(node): what a canceled call had still to send counts for as long as the connection lives, and beyond the
      // limit of 10 MB all calls are refused. The windows and the senders bound the memory of a client.
      maxSessionMemory: 1_000_000,
    });
    const forget = (): void => {
      if (this.#session === promise) this.#session = undefined;
    };
    session.once("connect", () => {
      session.setLocalWindowSize(windowBytes);
      this.#keepProcess(session);
      resolve(session);
    });
    session.on("goaway", forget);
    session.on("error", (error) => {
      forget();
      const cause = connectError(path, error);
      reject(statusError(cause.kind, cause.message, error));
    });
    session.on("close", () => {
      forget();
      reject(statusError("unavailable", `connect to "${path}": the connection was closed`));
    });
    // A failure is reported to the calls that wait for the connection; there may be none.
    promise.catch(() => undefined);
    return promise;
  }
}

/** One call of the client, from before its connection to its status. */
class Exchange implements Disposable {
  readonly #method: string;
  readonly #options: CallOptions;
  readonly #startMs = Date.now();
  readonly #ending = Promise.withResolvers<never>();
  readonly #onAbort = (): void => this.#abort();
  #timer: NodeJS.Timeout | undefined;
  #stream: ClientHttp2Stream | undefined;
  #session: ClientHttp2Session | undefined;
  /** Why this side ended the call; it has priority over the error of the stream. */
  #ended: GrpcStatusError | undefined;
  /** Why the requests could not be read. */
  #sourceFailure: { readonly error: unknown } | undefined;
  #response: ResponseHeaders | undefined;
  #trailers: IncomingHttpHeaders | undefined;

  constructor(method: string, options: CallOptions) {
    this.#method = method;
    this.#options = options;
    this.#ending.promise.catch(() => undefined);
    const { signal, timeoutMs } = options;
    if (timeoutMs !== undefined && timeoutMs <= maxTimerMs) {
      this.#timer = setTimeout(() => {
        this.#end("deadline-exceeded", `no response within ${timeoutMs} ms`);
      }, timeoutMs);
    }
    if (signal?.aborted === true) this.#abort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** The result of the promise, or the failure of this call if that comes first. */
  async unlessEnded<T>(promise: Promise<T>): Promise<T> {
    const value = await Promise.race([promise, this.#ending.promise]);
    if (this.#ended !== undefined) throw this.#ended;
    return value;
  }

  send(session: ClientHttp2Session, request: Uint8Array): void {
    writeMessage(this.#open(session), request, true);
  }

  /** Sends the requests in the background. */
  sendAll(session: ClientHttp2Session, requests: AsyncIterable<Uint8Array>): void {
    const stream = this.#open(session);
    sendRequests(stream, requests).catch((error: unknown) => {
      this.#sourceFailure = { error };
      this.#end("canceled", messageOf(error));
    });
  }

  #open(session: ClientHttp2Session): ClientHttp2Stream {
    const headers: Record<string, string> = {
      ":method": "POST",
      ":path": this.#method,
      "content-type": "application/grpc",
      te: "trailers",
      ...this.#options.metadata,
    };
    const { timeoutMs } = this.#options;
    if (timeoutMs !== undefined) {
      const leftMs = timeoutMs - (Date.now() - this.#startMs);
      headers["grpc-timeout"] = formatTimeout(leftMs);
    }
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(headers, { endStream: false });
    } catch (cause) {
      // The connection has just been lost.
      throw statusError("unavailable", `call "${this.#method}": ${messageOf(cause)}`, cause);
    }
    this.#stream = stream;
    this.#session = session;
    // A read of the stream reports the error. Without a listener it would be thrown.
    stream.on("error", () => undefined);
    stream.on("response", (response) => {
      this.#response = response;
      // A status in the first headers means that there is no response.
      if (response["grpc-status"] === undefined && response[":status"] === 200) {
        this.#options.onOpen?.();
      }
    });
    stream.on("trailers", (trailers: IncomingHttpHeaders) => {
      this.#trailers = trailers;
    });
    return stream;
  }

  async *responses(reader: MessageReader): AsyncGenerator<Uint8Array, void, undefined> {
    const stream = this.#stream;
    if (stream === undefined) return;
    let failure: unknown;
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) yield* reader.push(chunk);
    } catch (error) {
      failure = error;
    }
    if (this.#sourceFailure !== undefined) throw this.#sourceFailure.error;
    if (this.#ended !== undefined) throw this.#ended;
    const status = statusOf(this.#response, this.#trailers);
    if (status === undefined) throw this.#lost(stream, failure);
    if (status.code !== grpcOk) throw new GrpcStatusError(status);
    if (failure !== undefined) {
      throw statusError(kindOf(failure), `call "${this.#method}": ${messageOf(failure)}`, failure);
    }
    reader.end();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    const stream = this.#stream;
    if (stream !== undefined && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
  }

  #abort(): void {
    const reason: unknown = this.#options.signal?.reason;
    const kind = kindOf(reason);
    this.#end(kind === "unknown" ? "canceled" : kind, messageOf(reason));
  }

  #end(kind: ErrorKind, message: string): void {
    this.#ended ??= statusError(kind, `call "${this.#method}": ${message}`);
    this.#ending.reject(this.#ended);
    const stream = this.#stream;
    if (stream === undefined) return;
    stream.close(constants.NGHTTP2_CANCEL);
    // Ends the loop that reads the stream at once.
    stream.destroy();
  }

  /** The error for a stream that ended without a status. */
  #lost(stream: ClientHttp2Stream, failure: unknown): GrpcStatusError {
    // This side found that a message is invalid.
    const own = kindOf(failure);
    if (own !== "unknown" && own !== "canceled") {
      return statusError(own, `call "${this.#method}": ${messageOf(failure)}`, failure);
    }
    // Node.js ends the streams of a lost connection as if they had been reset with CANCEL.
    const kind = this.#session?.destroyed === true ? "unavailable" : kindOfReset(stream.rstCode);
    const what =
      kind === "unavailable"
        ? "the connection was lost before the response"
        : `the server reset the call (HTTP/2 error ${stream.rstCode})`;
    return statusError(kind, `call "${this.#method}": ${what}`, failure);
  }
}
