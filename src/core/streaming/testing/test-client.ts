import { PassThrough, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import type { ClientStreams, TerminalSize } from "../index.ts";

/** A client of a process that collects the output. */
export class TestClient {
  readonly stdin = new PassThrough();
  readonly stdout = new Collector();
  readonly stderr = new Collector();
  readonly #sizes: TerminalSize[] = [];
  #wake = Promise.withResolvers<undefined>();

  /** All three streams, or only those named. */
  streams(...names: readonly ("stdin" | "stdout" | "stderr")[]): ClientStreams {
    const { stdin, stdout, stderr } = this;
    const all = { stdin, stdout, stderr };
    const some: readonly string[] = names.length === 0 ? Object.keys(all) : names;
    const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => some.includes(name)));
    return { ...chosen, sizes: this.#sent() };
  }

  resize(size: TerminalSize): void {
    this.#sizes.push(size);
    this.#wake.resolve(undefined);
  }

  async *#sent(): AsyncGenerator<TerminalSize> {
    for (;;) {
      const size = this.#sizes.shift();
      if (size !== undefined) yield size;
      else {
        this.#wake = Promise.withResolvers();
        await this.#wake.promise;
      }
    }
  }
}

/** Collects its input, slowly if `paceMs` is set. */
export class Collector extends Writable {
  text = "";
  bytes = 0;
  /** Delay before each chunk is accepted. Milliseconds. */
  paceMs = 0;
  /** False: only counts the bytes. */
  keeps = true;

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const take = (): void => {
      this.bytes += chunk.length;
      if (this.keeps) this.text += chunk.toString("latin1");
      this.emit("taken");
      done();
    };
    if (this.paceMs === 0) take();
    else void delay(this.paceMs).then(take);
  }

  /** Waits until the text contains `text`. */
  async has(text: string | RegExp): Promise<void> {
    const holds = (): boolean =>
      typeof text === "string" ? this.text.includes(text) : text.test(this.text);
    const deadline = performance.now() + 10_000;
    while (!holds()) {
      if (performance.now() > deadline) {
        throw new Error(
          `the output does not contain ${String(text)}: ${JSON.stringify(this.text)}`,
        );
      }
      await delay(2);
    }
  }
}
