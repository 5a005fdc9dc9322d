import { PassThrough, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import type { ClientStreams, TerminalSize } from "../../../core/streaming/index.ts";

/** A client of a process, with what it was sent. */
export class TestClient {
  readonly stdin = new PassThrough();
  readonly stdout = new Collector();
  readonly stderr = new Collector();
  readonly #sizes: TerminalSize[] = [];
  #wake = Promise.withResolvers<undefined>();

  /** All three streams, or those that are named. */
  streams(...names: readonly ("stdin" | "stdout" | "stderr")[]): ClientStreams {
    const { stdin, stdout, stderr } = this;
    const all = { stdin, stdout, stderr };
    const some: readonly string[] = names.length === 0 ? Object.keys(all) : names;
    const chosen = Object.fromEntries(Object.entries(all).filter(([name]) => some.includes(name)));
    return { ...chosen, sizes: this.#told() };
  }

  resize(size: TerminalSize): void {
    this.#sizes.push(size);
    this.#wake.resolve(undefined);
  }

  async *#told(): AsyncGenerator<TerminalSize> {
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

/** Keeps what it is sent, at the pace that is asked for. */
export class Collector extends Writable {
  text = "";
  bytes = 0;
  /** Milliseconds before each chunk is taken. */
  paceMs = 0;
  /** False to count only. */
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

  /** Waits until the text holds this. */
  async has(text: string | RegExp): Promise<void> {
    const holds = (): boolean =>
      typeof text === "string" ? this.text.includes(text) : text.test(this.text);
    const deadline = performance.now() + 10_000;
    while (!holds()) {
      if (performance.now() > deadline) {
        throw new Error(`it does not say ${String(text)}: ${JSON.stringify(this.text)}`);
      }
      await delay(2);
    }
  }
}
