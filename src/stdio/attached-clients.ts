import { Writable } from "node:stream";

import { RuntimeError } from "../base/errors.ts";
import type { ClientStreams } from "../core/streaming/index.ts";
import type { LogStream } from "./cri-log-lines.ts";

/** How far a client may be behind; then it is let go, as the container waits for nobody. */
const behindBytes = 4 * 1024 * 1024;

/** The clients that a container's output goes to beside its log. */
export class AttachedClients {
  readonly #clients = new Set<{
    readonly streams: ClientStreams;
    readonly tooSlow: () => void;
  }>();

  /** Adds a client; what is called when it does not keep up, and how it leaves. */
  add(streams: ClientStreams, tooSlow: () => void): Disposable {
    const client = { streams, tooSlow };
    this.#clients.add(client);
    // A client that goes away is told by the signal of its operation.
    for (const sink of [streams.stdout, streams.stderr]) sink?.on("error", () => undefined);
    return {
      [Symbol.dispose]: () => {
        this.#clients.delete(client);
      },
    };
  }

  /** Gives a piece of output to all of them; waits for none. */
  give(name: LogStream, chunk: Buffer): void {
    for (const client of this.#clients) {
      const sink: Writable | undefined = client.streams[name];
      if (sink === undefined || !sink.writable || sink.destroyed) continue;
      sink.write(chunk);
      if (sink.writableLength > behindBytes) {
        this.#clients.delete(client);
        client.tooSlow();
      }
    }
  }
}

/** The error of a client that does not keep up. */
export function tooSlow(id: string): RuntimeError {
  return new RuntimeError(
    "resource-exhausted",
    `attach to container "${id}": the client is ${behindBytes} bytes behind what the container writes; read faster, or read its log`,
  );
}

/** A stream into one that others write to, too: its end is told, and does not end that. */
export function inputInto(shared: Writable, onEnd: () => void): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      // An error means that nobody reads any more: what is typed is dropped then.
      shared.write(chunk, () => done());
    },
    final: (done) => {
      onEnd();
      done();
    },
  });
}
