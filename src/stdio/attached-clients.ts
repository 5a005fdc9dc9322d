import { Writable } from "node:stream";

import { RuntimeError } from "../base/errors.ts";
import { beforeAbort } from "../base/wait.ts";
import type { Operation } from "../core/operation/index.ts";
import type { ClientStreams } from "../core/streaming/index.ts";
import type { LogStream } from "./cri-log-lines.ts";
import { finish } from "./pump.ts";

/** How far a client may lag behind the container before it is disconnected. The container never waits. */
const maxLagBytes = 4 * 1024 * 1024;

/** A client that gets a container's output. When it is disposed of, the client gets no more. */
export interface AttachedClient extends Disposable {
  readonly streams: ClientStreams;
  /** Rejects with `resource-exhausted` when the client lags too far behind. */
  readonly lagged: Promise<never>;
}

/** The clients that get a container's output in addition to its log. */
export class AttachedClients {
  readonly #id: string;
  readonly #clients = new Map<ClientStreams, (lag: RuntimeError) => void>();

  /** `id` is the container's, for errors. */
  constructor(id: string) {
    this.#id = id;
  }

  add(streams: ClientStreams): AttachedClient {
    const { promise: lagged, reject } = Promise.withResolvers<never>();
    lagged.catch(() => undefined);
    this.#clients.set(streams, reject);
    // When a client goes away, the signal of its operation is aborted.
    for (const sink of [streams.stdout, streams.stderr]) sink?.on("error", () => undefined);
    return {
      streams,
      lagged,
      [Symbol.dispose]: () => {
        this.#clients.delete(streams);
      },
    };
  }

  /** Writes a chunk of output to all clients; waits for none. */
  write(name: LogStream, chunk: Buffer): void {
    for (const [streams, disconnect] of this.#clients) {
      const sink: Writable | undefined = streams[name];
      if (sink === undefined || !sink.writable || sink.destroyed) continue;
      sink.write(chunk);
      if (sink.writableLength > maxLagBytes) {
        this.#clients.delete(streams);
        disconnect(lagError(this.#id));
      }
    }
  }
}

function lagError(id: string): RuntimeError {
  return new RuntimeError(
    "resource-exhausted",
    `attach to container "${id}": the client is ${maxLagBytes} bytes behind what the container writes; read faster, or read its log`,
  );
}

/**
 * Tells a client that it is attached. Call it when the container's output from now on will reach the client, and before any of
 * it is sent: until then the client may not regard its connection as open.
 */
export async function tellAttached(streams: ClientStreams, operation: Operation): Promise<void> {
  await operation.enter("wait-for-end");
  streams.onStarted?.();
}

/**
 * Waits for the end of an attached client's session: the container has ended and the client has taken all output.
 * Rejects when the client lags too far behind or the operation is aborted.
 */
export async function untilAttachEnds(
  { streams, lagged }: AttachedClient,
  containerEnd: Promise<unknown>,
  operation: Operation,
): Promise<void> {
  await beforeAbort(Promise.race([containerEnd, lagged]), operation.signal);
  await finish([streams.stdout, streams.stderr], operation.signal);
}

/** A stream into `shared`, to which others write as well: its end calls `onEnd` and does not end `shared`. */
export function inputInto(shared: Writable, onEnd: () => void): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      // After an error there is no reader any more; further input is dropped.
      shared.write(chunk, () => done());
    },
    final: (done) => {
      onEnd();
      done();
    },
  });
}
