import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { isKind, messageOf } from "../base/errors.ts";
import { GzipInflater } from "../linux/blob/index.ts";
import { ZlibStream } from "./decompress.ts";
import type { Decompressor } from "./decompressor.ts";
import { InflateStream } from "./inflate.ts";
import { Random } from "./testing/random.ts";

const isMissing = GzipInflater.open() === undefined ? "ISA-L is not installed" : false;

function inflaterForTest(): GzipInflater {
  const inflater = GzipInflater.open();
  assert.ok(inflater !== undefined);
  return inflater;
}

/** What comes out, or the failure. */
async function outcome(
  decompressor: Decompressor,
  pieces: readonly Buffer[],
): Promise<{ readonly plain?: Buffer; readonly error?: unknown }> {
  const feeding = (async () => {
    for (const piece of pieces) await decompressor.write(piece);
    decompressor.end();
  })();
  const output: Buffer[] = [];
  try {
    for await (const piece of decompressor.output) output.push(Buffer.from(piece));
    return { plain: Buffer.concat(output) };
  } catch (error) {
    return { error };
  } finally {
    await feeding;
  }
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** With digests the outcome is the same, and they are those of all input and of all output. */
async function assertHashed(
  pieces: readonly Buffer[],
  expected: { readonly plain?: Buffer; readonly error?: unknown },
  what: string,
): Promise<void> {
  const inflater = GzipInflater.openHashed();
  if (inflater?.digests === undefined) return;
  const hashed = await outcome(new InflateStream(inflater), pieces);
  assert.deepEqual(hashed, expected, what);
  const [input, output] = inflater.digests;
  assert.equal(input.digest(), sha256(Buffer.concat(pieces)), what);
  if (expected.plain !== undefined) assert.equal(output.digest(), sha256(expected.plain), what);
}

/** A gzip member whose header has all optional fields (RFC 1952, 2.3.1). */
function withAllFields(content: Buffer, extra: number, name: string): Buffer {
  const member = gzipSync(content);
  const header = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 0x1c, 0, 0, 0, 0, 0, 3, extra & 255, extra >> 8]),
    Buffer.alloc(extra, 0x1f),
    Buffer.from(`${name}\0comment\0`),
  ]);
  return Buffer.concat([header, member.subarray(10)]);
}

function plainOf(random: Random, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let left = size; left > 0; ) {
    const length = Math.min(left, 1 + random.below(60_000));
    const kind = random.below(3);
    if (kind === 0) parts.push(random.bytes(length));
    else if (kind === 1) parts.push(Buffer.alloc(length, random.bytes(1 + random.below(300))));
    else parts.push(Buffer.alloc(length, `some words of text ${random.below(9)}\n`));
    left -= length;
  }
  return Buffer.concat(parts);
}

describe("InflateStream", { skip: isMissing }, () => {
  test("agrees with zlib on corrupt, truncated and extended streams", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed);
      const members = Array.from({ length: 1 + random.below(3) }, () => {
        const content = plainOf(random, random.below(150_000));
        if (random.below(3) === 0) return withAllFields(content, random.below(70_000 >> 1), "name");
        return gzipSync(content, { level: random.below(10) });
      });
      let blob = Buffer.concat(members);
      const change = random.below(5);
      if (change === 1) blob = blob.subarray(0, 2 + random.below(blob.length - 2));
      if (change === 2) {
        for (let times = 1 + random.below(3); times > 0; times--) {
          // Not in the magic number, by which the decompressor was chosen.
          blob[2 + random.below(blob.length - 2)] = random.below(256);
        }
      }
      if (change === 3) blob = Buffer.concat([blob, random.bytes(1 + random.below(40))]);
      if (change === 4) blob = Buffer.concat([blob, Buffer.alloc(1 + random.below(2000))]);
      const pieces = random.split(blob, [40, 5000, 300_000][seed % 3] ?? 40);
      const [ours, zlib] = [
        await outcome(new InflateStream(inflaterForTest()), pieces),
        await outcome(new ZlibStream("gzip"), pieces),
      ];
      const what = `seed ${seed}: ${messageOf(ours.error ?? "")} / ${messageOf(zlib.error ?? "")}`;
      await assertHashed(pieces, ours, what);
      assert.equal(ours.error === undefined, zlib.error === undefined, what);
      if (ours.plain === undefined) assert.ok(isKind(ours.error, "invalid-argument"), what);
      else assert.ok(zlib.plain?.equals(ours.plain), what);
    }
  });

  test("computes digests of large streams, and of input that nobody reads", async (t) => {
    const random = new Random(7);
    const plain = plainOf(random, 5_000_000);
    const pieces = random.split(gzipSync(plain, { level: 1 }), 700_000);
    await assertHashed(pieces, { plain }, "large");
    const inflater = GzipInflater.openHashed();
    if (inflater?.digests === undefined) {
      t.skip("the processor has no instructions for SHA-256");
      return;
    }
    const stream = new InflateStream(inflater);
    const reading = (async () => {
      for await (const piece of stream.output) if (piece.length > 0) break;
    })();
    for (const piece of pieces) await stream.write(piece);
    stream.end();
    await reading;
    assert.equal(inflater.digests[0].digest(), sha256(Buffer.concat(pieces)));
  });

  test("fails with the words of zlib", async () => {
    const blob = gzipSync(Buffer.alloc(1000, "text"));
    const changed = (at: number, value: number): Buffer => {
      const copy = Buffer.from(blob);
      copy[at] = value;
      return copy;
    };
    const failures: readonly (readonly [Buffer, RegExp])[] = [
      [blob.subarray(0, blob.length - 1), /decompress: unexpected end of file/],
      [changed(2, 7), /decompress: unknown compression method/],
      [changed(blob.length - 8, (blob.at(-8) ?? 0) ^ 1), /decompress: incorrect data check/],
      [Buffer.concat([blob, Buffer.from("text")]), /decompress: incorrect header check/],
    ];
    for (const [bytes, words] of failures) {
      const { error } = await outcome(new InflateStream(inflaterForTest()), [bytes]);
      assert.match(messageOf(error), words);
    }
  });

  test("a stream of very many members, and single bytes", async () => {
    const many = Buffer.concat(Array.from({ length: 5000 }, () => gzipSync("")));
    assert.equal((await outcome(new InflateStream(inflaterForTest()), [many])).plain?.length, 0);
    const small = Buffer.concat([withAllFields(Buffer.from("a"), 9, "x"), gzipSync("b")]);
    const bytes = [...small].map((byte) => Buffer.from([byte]));
    const { plain } = await outcome(new InflateStream(inflaterForTest()), bytes);
    assert.equal(String(plain), "ab");
  });

  test("a few bytes become very many, a buffer at a time", async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const stream = new InflateStream(inflaterForTest());
    const feeding = stream.write(bomb).then(() => stream.end());
    let total = 0;
    for await (const piece of stream.output) total += piece.length;
    await feeding;
    assert.equal(total, 64 * 1024 * 1024);
  });
});

describe("GzipInflater", { skip: isMissing }, () => {
  test("writes only into its output, whatever the input is", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed);
      const blob = gzipSync(plainOf(random, 40_000), { level: random.below(10) });
      for (let times = random.below(4); times > 0; times--) {
        blob[10 + random.below(blob.length - 10)] = random.below(256);
      }
      const inflater = inflaterForTest();
      const memory = Buffer.alloc(70_000, 0xa5);
      const [begin, size] = [1000 + random.below(64), 1 + random.below(50_000)];
      try {
        let rest = blob;
        for (let calls = 0; calls < 50 && rest.length > 0; calls++) {
          const output = memory.subarray(begin, begin + size);
          const { consumed, produced, state } = await inflater.inflate(rest, output);
          assert.ok(consumed <= rest.length && produced <= size);
          rest = rest.subarray(consumed);
          if (state === "padding") break;
        }
      } catch (error) {
        assert.ok(isKind(error, "invalid-argument"), `seed ${seed}: ${messageOf(error)}`);
      }
      const outside = [memory.subarray(0, begin), memory.subarray(begin + size)];
      for (const part of outside)
        assert.ok(
          part.every((byte) => byte === 0xa5),
          `seed ${seed}`,
        );
    }
  });

  test("refuses a second call during the first, and calls after a failure", async () => {
    const inflater = inflaterForTest();
    const output = Buffer.alloc(100);
    const first = inflater.inflate(gzipSync("text"), output);
    await assert.rejects(inflater.inflate(gzipSync("text"), output), /a handle that is free/);
    assert.equal((await first).state, "member-end");
    await assert.rejects(
      inflater.inflate(Buffer.from("garbage"), output),
      /incorrect header check/,
    );
    await assert.rejects(inflater.inflate(gzipSync("text"), output), /a handle that is free/);
  });
});
