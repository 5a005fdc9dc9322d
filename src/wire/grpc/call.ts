/** The process at the other end of a connection, as it was when it connected. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  /** The name that the process gave itself; empty if it is not known. */
  readonly name: string;
}

/** The call, as its handler sees it. */
export interface Call {
  /** Path of the method, such as `/runtime.v1.RuntimeService/Version`. */
  readonly method: string;
  /** Number of the call; it increases during the life of the server. */
  readonly id: number;
  /**
   * Aborted with a RuntimeError when the client no longer waits for the response: `canceled` when the
   * client reset the call or its connection ended, `deadline-exceeded` at its deadline. A
   * handler may finish its work all the same; its result is then dropped.
   */
  readonly signal: AbortSignal;
  /** When the client gives up, in milliseconds since the epoch. Undefined: never. */
  readonly deadline?: number;
  /** When the call was received, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** Who called; undefined if the server does not know. */
  readonly peer?: Peer | undefined;
  /**
   * Sends the headers of a stream of responses before its first response: so the client learns that the
   * stream is open. Does nothing when they were sent or the call has ended.
   */
  sendHeaders(): void;
  /** A text of the client's metadata by its name in lower case. Several of one name are joined by ", ". */
  metadata(name: string): string | undefined;
}

/** A method with one request and one response. */
export interface UnaryMethod {
  readonly kind: "unary";
  /** The encoded response to an encoded request. The handler owns the bytes of the request. */
  handle(request: Uint8Array, call: Call): Promise<Uint8Array>;
}

/** A method with one request and any number of responses. */
export interface ServerStreamMethod {
  readonly kind: "server-stream";
  /**
   * The encoded responses. The server requests the next one when the client can receive it. When the
   * client disconnects, the signal is aborted and `return()` is called.
   */
  handle(request: Uint8Array, call: Call): AsyncIterable<Uint8Array>;
}

/** A method with any number of requests and of responses, which are independent of each other. */
export interface StreamMethod {
  readonly kind: "stream";
  /**
   * The encoded responses to encoded requests. The requests can be read once, and the client sends no
   * more than fits into its window until they are read. Reading them rejects when the call ends before
   * the client has sent its last one. Otherwise as {@link ServerStreamMethod}.
   *
   * NOTE(node): a client on node:http2 that cancels a call ends its requests first, so their end alone does
   * not mean that they are complete: the last request must say so.
   */
  handle(requests: AsyncIterable<Uint8Array>, call: Call): AsyncIterable<Uint8Array>;
}

/** The handler of one path of a GrpcServer. */
export type Method = UnaryMethod | ServerStreamMethod | StreamMethod;

/** Observes the end of each call. Must not throw. */
export type CallObserver = (call: Call, end: CallEnd) => void;

/** How a call ended for its caller. Its handler may still be running. */
export interface CallEnd {
  /** The status code that was sent, or that of the reason when the caller disconnected before. */
  readonly code: number;
  readonly message: string;
  /** Bytes of messages, without framing. */
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationMs: number;
}
