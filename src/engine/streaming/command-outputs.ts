import { Writable } from "node:stream";
import { releaseTransferred } from "../../base/transferable.ts";

/** What the client of a command gets. Bytes are valid until the next output is requested. */
export type CommandOutput =
  | { readonly kind: "started" }
  | { readonly kind: "stdout" | "stderr"; readonly bytes: Uint8Array }
  | { readonly kind: "end"; readonly exitCode: number };

interface Waiting {
  readonly output: Extract<CommandOutput, { readonly bytes: Uint8Array }>;
  readonly taken: () => void;
}

/**
 * The output of a command in the order in which it was written, for one reader. A stream is not written to until the
 * reader has taken what was written before, so there is at most one chunk of each, and what the stream itself buffers.
 */
export class CommandOutputs implements AsyncIterable<CommandOutput> {
  readonly stdout: Writable;
  /** Undefined with a terminal. */
  readonly stderr: Writable | undefined;
  readonly #waiting: Waiting[] = [];
  #hasStarted = false;
  #end: { readonly exitCode: number } | { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(hasTerminal: boolean) {
    this.stdout = this.#sink("stdout");
    this.stderr = hasTerminal ? undefined : this.#sink("stderr");
  }

  /** The command runs. Output before that waits. */
  started(): void {
    this.#hasStarted = true;
    this.#wake?.();
  }

  /** The command has ended, and all of its output has been written. */
  end(exitCode: number): void {
    this.#end ??= { exitCode };
    this.started();
  }

  /** The reader gets the error after what it has taken. */
  fail(error: unknown): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** Drops all output that the reader has not taken. */
  close(): void {
    for (const sink of [this.stdout, this.stderr]) sink?.destroy();
    for (const { taken } of this.#waiting.splice(0)) taken();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<CommandOutput, void, undefined> {
    let hasTold = false;
    for (;;) {
      if (this.#end !== undefined && "error" in this.#end) throw this.#end.error;
      if (this.#hasStarted && !hasTold) {
        hasTold = true;
        yield { kind: "started" };
        continue;
      }
      const next = hasTold ? this.#waiting.shift() : undefined;
      if (next !== undefined) {
        yield next.output;
        // The reader has encoded it: so a stream does not make the garbage collector run.
        releaseTransferred(next.output.bytes);
        next.taken();
        continue;
      }
      if (this.#end !== undefined) {
        yield { kind: "end", exitCode: this.#end.exitCode };
        return;
      }
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => {
        resolve(undefined);
      };
      await promise;
    }
  }

  #sink(kind: "stdout" | "stderr"): Writable {
    const write = (bytes: Buffer, _encoding: string, taken: () => void): void => {
      this.#waiting.push({ output: { kind, bytes }, taken });
      this.#wake?.();
    };
    return new Writable({ write }).on("error", () => undefined);
  }
}
