import assert from "node:assert/strict";
import { once } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import { PassThrough, Readable, Writable } from "node:stream";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";

import { drain, feed, finish, Pump } from "./pump.ts";

test("feed() ends the sink when the source ends, is reset, or was reset before", async () => {
  const ways: Readonly<Record<string, (source: PassThrough) => void>> = {
    "an end": (source) => source.end(),
    "a reset": (source) => source.destroy(),
    "a failure": (source) => source.destroy(new Error("reset")),
  };
  for (const [way, end] of Object.entries(ways)) {
    for (const before of [true, false]) {
      const [source, sink] = [new PassThrough(), new PassThrough()];
      source.on("error", () => undefined);
      if (before) {
        end(source);
        await setImmediate();
      }
      feed(source, sink);
      if (!before) {
        source.write("typed");
        assert.equal(String((await once(sink, "data"))[0]), "typed");
        end(source);
      }
      sink.resume();
      await once(sink, "end", { signal: AbortSignal.timeout(5_000) }).catch(() => {
        assert.fail(`${way} ${before ? "before" : "while"} it is fed does not end the sink`);
      });
    }
  }
});

test("feed() leaves the sink open, and both streams without listeners, once it is stopped", async () => {
  const [source, sink] = [new PassThrough(), new PassThrough()];
  const listeners = (): readonly number[] =>
    ["data", "drain", "close", "end"].map(
      (name) => source.listenerCount(name) + sink.listenerCount(name),
    );
  const before = listeners();
  feed(source, sink)();
  assert.deepEqual(listeners(), before);
  source.destroy();
  await once(source, "close");
  assert.ok(sink.writable);
});

const never = new AbortController().signal;

/** A sink that accepts the next chunk only at `takeNext`. */
class SlowSink extends Writable {
  readonly taken: string[] = [];
  #next: (() => void) | undefined;

  constructor() {
    super({ highWaterMark: 1 });
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.taken.push(String(chunk));
    this.#next = callback;
  }

  takeNext(): void {
    this.#next?.();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await setImmediate();
}

test("Pump carries output with back-pressure, to its end", async () => {
  const [source, sink] = [new PassThrough(), new SlowSink()];
  const pump = new Pump(source, sink);
  for (const chunk of ["a", "b"]) {
    source.write(chunk);
    await turns();
  }
  source.end();
  assert.deepEqual([sink.taken, pump.blocked, pump.ended], [["a"], true, false]);
  sink.takeNext();
  await turns();
  assert.deepEqual(sink.taken, ["a", "b"]);
  sink.takeNext();
  await pump.done;
  assert.deepEqual([pump.bytes, pump.blocked, pump.ended], [2, false, true]);
});

test("Pump drops output without a client, and of a client that has closed its stream", async () => {
  const closed = new PassThrough();
  closed.destroy();
  for (const sink of [undefined, closed]) {
    const source = new PassThrough();
    const pump = new Pump(source, sink);
    source.end(Buffer.alloc(1_000_000));
    await pump.done;
    assert.equal(pump.bytes, 1_000_000);
  }
  const nothing = new Pump(undefined, undefined);
  await nothing.done;
});

test("Pump ends with a client that goes away while it blocks, and when it is stopped", async () => {
  const [source, sink] = [new PassThrough(), new SlowSink()];
  const pump = new Pump(source, sink);
  source.write("a");
  await turns();
  assert.equal(pump.blocked, true);
  sink.destroy(new Error("reset"));
  source.end("b");
  await pump.done;
  assert.equal(pump.bytes, 2);
  const other = new PassThrough();
  const stopped = new Pump(other, new SlowSink());
  stopped.stop();
  await stopped.done;
  assert.ok(other.destroyed);
});

test("Pump withholds output that its gate refuses, and returns the beginning of it", async () => {
  for (const mayPass of [true, false]) {
    const [source, sink] = [new PassThrough(), new PassThrough()];
    let asked = 0;
    const pump = new Pump(source, sink, async () => {
      asked++;
      return mayPass;
    });
    source.write("no such file");
    await turns();
    source.end(Buffer.alloc(40_000, "x"));
    sink.resume();
    await pump.done;
    assert.equal(asked, 1);
    assert.equal(pump.withheld.length, mayPass ? 0 : 16 * 1024);
    if (!mayPass) assert.match(String(pump.withheld), /^no such filexx/);
  }
});

test("drain() waits for the end of outputs, and not for a process that has them open and writes nothing", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.timers.reset();
    syncBuiltinESMExports();
  });
  const ended = new PassThrough();
  const done = drain([new Pump(ended, undefined)], 100, never);
  ended.end("a");
  await done;
  const open = new PassThrough();
  const pump = new Pump(open, undefined);
  const drained = drain([pump], 100, never);
  for (let tick = 0; tick < 10; tick++) {
    assert.equal(pump.ended, false);
    await turns();
    t.mock.timers.tick(10);
  }
  await drained;
  assert.ok(open.destroyed);
});

test("drain() waits for a slow client until the signal is aborted", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.timers.reset();
    syncBuiltinESMExports();
  });
  const [source, sink] = [new PassThrough(), new SlowSink()];
  const pump = new Pump(source, sink);
  source.write("a");
  await turns();
  const client = new AbortController();
  const drained = drain([pump], 50, client.signal);
  for (let tick = 0; tick < 50; tick++) {
    await turns();
    t.mock.timers.tick(10);
  }
  assert.equal(source.destroyed, false);
  client.abort(new Error("it left"));
  await assert.rejects(drained, /it left/);
  pump.stop();
  sink.destroy();
});

test("drain() reads no more than pipes can hold from a process that writes forever", async () => {
  async function* writesOn(): AsyncGenerator<Buffer> {
    for (;;) {
      await setImmediate();
      yield Buffer.alloc(64 * 1024);
    }
  }
  const source = Readable.from(writesOn());
  const pump = new Pump(source, undefined);
  await drain([pump], 60_000, never);
  assert.ok(source.destroyed && pump.bytes >= 1024 * 1024);
});

test("finish() ends the streams, and waits until the client has taken all output or closed them", async () => {
  const [slow, closing, gone] = [new SlowSink(), new SlowSink(), new PassThrough()];
  gone.destroy();
  for (const sink of [slow, closing]) sink.write("a");
  const finished = finish([slow, closing, gone, undefined], never);
  let isOver = false;
  void finished.then(() => {
    isOver = true;
  });
  closing.destroy();
  await turns();
  assert.equal(isOver, false);
  slow.takeNext();
  await finished;
  const client = new AbortController();
  const stuck = new SlowSink();
  stuck.write("a");
  const left = finish([stuck], client.signal);
  client.abort(new Error("it left"));
  await assert.rejects(left, /it left/);
});
