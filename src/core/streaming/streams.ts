import type { Duplex, Readable, Writable } from "node:stream";

/** The size of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/**
 * The client's ends of a process's streams. What was not asked for is undefined. The daemon never
 * holds more than the streams' own high-water marks: whoever reads and writes them honours
 * back-pressure.
 */
export interface ClientStreams {
  /** What the client types; ends when the client has no more. */
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  /** Never there together with a terminal, which has one stream of output. */
  readonly stderr?: Writable | undefined;
  /** Sizes of the client's terminal as they change; ends with the client. */
  readonly sizes: AsyncIterable<TerminalSize>;
}

/** A command to run in a container. */
export interface ExecRequest {
  readonly containerId: string;
  readonly command: readonly string[];
  readonly terminal: boolean;
}

/** How an exec ended. */
export interface ExecEnd {
  readonly exitCode: number;
}

/** A container to attach to. */
export interface AttachRequest {
  readonly containerId: string;
  /** As the container was created: the client cannot choose. */
  readonly terminal: boolean;
}

/**
 * What a streaming server carries a client to. `signal` is aborted when the client goes away.
 *
 * Errors are RuntimeErrors; their message is what the client's user reads.
 */
export interface StreamTargets {
  /**
   * Runs a command. Resolves when it has ended **and** everything it wrote has been taken by the
   * client's streams, which are then ended. A client that goes away ends the command's session.
   */
  exec(request: ExecRequest, streams: ClientStreams, signal: AbortSignal): Promise<ExecEnd>;
  /**
   * Joins the streams of a running container from now on: nothing that was written before is
   * repeated. Resolves when the container has ended or the client left; leaving kills nothing.
   */
  attach(request: AttachRequest, streams: ClientStreams, signal: AbortSignal): Promise<void>;
  /**
   * Connects to a TCP port of the pod's loopback, IPv4 first, then IPv6. The connection is the
   * caller's to end; half-close works in both directions (`allowHalfOpen`).
   */
  connect(sandboxId: string, port: number, signal: AbortSignal): Promise<Duplex>;
}

/** The client's choice of streams, checked by the RPC. */
export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** Hands out addresses that may be used once, each for one minute. */
export interface StreamUrls {
  /** `resource-exhausted` when too many wait to be used. */
  exec(request: ExecRequest, choice: StreamChoice): string;
  attach(request: AttachRequest, choice: StreamChoice): string;
  /** `ports` are those that the client named; empty when it chooses them on the connection. */
  portForward(sandboxId: string, ports: readonly number[]): string;
}
