import type { Duplex, Readable, Writable } from "node:stream";

/** The size of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/**
 * The client's ends of a process's streams. A stream that was not requested is undefined. Code that
 * reads or writes them must honour back-pressure, so that the daemon buffers no more than the streams'
 * high-water marks.
 */
export interface ClientStreams {
  /** The client's input. Ends when the client closes it. */
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  /** Undefined with a terminal, which has a single output stream. */
  readonly stderr?: Writable | undefined;
  /** The size of the client's terminal, at the start and after each change. Ends with the client. */
  readonly sizes: AsyncIterable<TerminalSize>;
  /** Numbers of signals for the command itself. Undefined where the client cannot send any. Ends with the client. */
  readonly signals?: AsyncIterable<number> | undefined;
  /**
   * Called at most once: when the command runs or has run, or when an attached client gets what the container writes from
   * then on.
   */
  readonly onStarted?: (() => void) | undefined;
}

/** A command to run in a container. */
export interface ExecRequest {
  readonly containerId: string;
  readonly command: readonly string[];
  readonly terminal: boolean;
  /** `KEY=value` lines of this command alone. May be secret. */
  readonly env?: readonly string[];
  /** As images write it: `user`, `uid`, `user:group` or `uid:gid`. Undefined for the container's own. */
  readonly user?: string | undefined;
  /** Absolute. Undefined for the container's own. */
  readonly workingDir?: string | undefined;
}

/** How an exec ended. */
export interface ExecEnd {
  readonly exitCode: number;
}

/** A container to attach to. */
export interface AttachRequest {
  readonly containerId: string;
  /** Whether the container was created with a terminal. The client cannot choose. */
  readonly terminal: boolean;
}

/**
 * The targets to which a streaming server connects its clients. `signal` is aborted when the client
 * disconnects. Errors are RuntimeErrors, and users of the client read their messages.
 */
export interface StreamTargets {
  /**
   * Runs a command. Resolves when it has ended **and** the client's streams have received all its
   * output; the streams are ended then. When the client disconnects, the command's session is ended.
   */
  exec(request: ExecRequest, streams: ClientStreams, signal: AbortSignal): Promise<ExecEnd>;
  /**
   * Attaches to the streams of a running container, without its earlier output. Resolves when the
   * container has ended or the client has disconnected, which does not end the container.
   */
  attach(request: AttachRequest, streams: ClientStreams, signal: AbortSignal): Promise<void>;
  /**
   * Connects to a TCP port on the pod's loopback, IPv4 first, then IPv6. The caller ends the connection.
   * Half-close works in both directions (`allowHalfOpen`).
   */
  connect(sandboxId: string, port: number, signal: AbortSignal): Promise<Duplex>;
}

/** The streams that the client requests, checked by the RPC. */
export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** The pod of a request, whose connections are limited. */
export interface OfSandbox {
  readonly sandboxId: string;
}

/** Creates URLs that are valid for one minute and can be used once. */
export interface StreamUrls {
  /** `resource-exhausted` when too many URLs are unused. */
  exec(request: ExecRequest & OfSandbox, choice: StreamChoice): Promise<string>;
  attach(request: AttachRequest & OfSandbox, choice: StreamChoice): Promise<string>;
  /** `ports` are those of the request; empty when the client chooses them on the connection. */
  portForward(sandboxId: string, ports: readonly number[]): Promise<string>;
}
