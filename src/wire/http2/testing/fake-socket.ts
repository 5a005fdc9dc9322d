import assert from "node:assert/strict";
import { EventEmitter } from "node:events";

/** A socket whose client reads only when it is told to. */
export class FakeSocket extends EventEmitter {
  destroyed = false;
  writableEnded = false;
  writableNeedDrain = false;
  isReading = true;
  written: Buffer[] = [];
  #onFinish: () => void = () => undefined;

  write(bytes: Uint8Array): boolean {
    assert.ok(!this.destroyed && !this.writableEnded, "a write after the end");
    // The server may use its memory again.
    this.written.push(Buffer.from(bytes));
    this.writableNeedDrain = !this.isReading;
    return !this.writableNeedDrain;
  }

  cork(): void {
    // Writes are in order anyway.
  }

  uncork(): void {
    // See cork().
  }

  resume(): this {
    return this;
  }

  /** The client reads what waits for it, and what follows. */
  read(): void {
    this.isReading = true;
    if (!this.writableNeedDrain || this.destroyed) return;
    this.writableNeedDrain = false;
    if (this.writableEnded) process.nextTick(this.#onFinish);
    else this.emit("drain");
  }

  end(onFinish: () => void): void {
    this.writableEnded = true;
    this.#onFinish = onFinish;
    if (!this.writableNeedDrain) process.nextTick(onFinish);
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    process.nextTick(() => this.emit("close"));
  }
}
