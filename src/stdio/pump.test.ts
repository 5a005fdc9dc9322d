import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";

import { feed } from "./pump.ts";
import { TerminalSizes } from "./terminal-sizes.ts";
import type { TerminalSize } from "../core/streaming/streams.ts";

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

test("TerminalSizes ignores invalid sizes, and reports the latest one to a later listener", async () => {
  async function* sent(): AsyncGenerator<TerminalSize> {
    for (const width of [80, -1, 70_000, 100]) {
      await setImmediate();
      yield { width, height: 24 };
    }
  }
  using sizes = new TerminalSizes(sent());
  const seen: number[] = [];
  for (let turns = 0; turns < 20; turns++) await setImmediate();
  sizes.follow(({ width }) => seen.push(width));
  assert.deepEqual(seen, [100]);
});
