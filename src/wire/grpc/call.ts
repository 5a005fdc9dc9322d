/** What a handler knows about the call it answers. */
export interface Call {
  /** Path of the method, as `/runtime.v1.RuntimeService/Version`. */
  readonly method: string;
  /** Number of the call, increasing over the life of the server. */
  readonly id: number;
  /**
   * Aborted with a RuntimeError when nobody waits for the answer any more: `canceled` when the
   * client reset the call or its connection ended, `deadline-exceeded` when its time ran out. A
   * handler may finish its work all the same; what it returns is then dropped.
   */
  readonly signal: AbortSignal;
  /** When the client gives up, in milliseconds since the epoch. Absent: it waits forever. */
  readonly deadline?: number;
  /** When the call came in, in milliseconds since the epoch. */
  readonly startedAt: number;
}

/** A method with one request and one answer. */
export interface UnaryMethod {
  readonly kind: "unary";
  /** The encoded answer to an encoded request. The request's bytes are the handler's to keep. */
  handle(request: Uint8Array, call: Call): Promise<Uint8Array>;
}

/** A method with one request and any number of answers. */
export interface ServerStreamMethod {
  readonly kind: "server-stream";
  /**
   * The encoded answers. The next one is asked for when the client has room for it; when the
   * client leaves, the signal is aborted and `return()` is called.
   */
  handle(request: Uint8Array, call: Call): AsyncIterable<Uint8Array>;
}

/** What a GrpcServer serves under one path. */
export type Method = UnaryMethod | ServerStreamMethod;

/** How a call ended for its caller; a handler may still be at work then. */
export interface CallEnd {
  /** The status code sent, or that of the reason when the caller left without one. */
  readonly code: number;
  readonly message: string;
  /** Bytes of messages, without framing. */
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationMs: number;
}
