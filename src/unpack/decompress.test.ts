import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";

import { isKind } from "../base/errors.ts";
import { GzipInflater } from "../linux/blob/index.ts";
import { detectCompression, ZlibStream } from "./decompress.ts";
import type { Decompressor } from "./decompressor.ts";
import { InflateStream } from "./inflate.ts";
import { Random } from "./testing/random.ts";
import { ZstdFrames } from "./zstd-frames.ts";

const zlib = (blob: Buffer): Decompressor => new ZlibStream(detectCompression(blob));

/** `undefined` where ISA-L is not installed. */
function isal(): Decompressor | undefined {
  const inflater = GzipInflater.open();
  return inflater === undefined ? undefined : new InflateStream(inflater);
}

async function decompress(
  pieces: readonly Buffer[],
  decompressor = zlib(Buffer.concat(pieces)),
): Promise<Buffer> {
  const feeding = (async () => {
    for (const piece of pieces) await decompressor.write(piece);
    decompressor.end();
  })();
  const output: Buffer[] = [];
  for await (const piece of decompressor.output) output.push(Buffer.from(piece));
  await feeding;
  return Buffer.concat(output);
}

const random = new Random(1);
/** Compresses well here and badly there, and is longer than a window of blocks. */
const content = Buffer.concat([
  Buffer.alloc(300_000, "ab"),
  random.bytes(200_000),
  Buffer.alloc(500_000),
]);
const withChecksum = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };

function skippable(length: number): Buffer {
  const frame = Buffer.alloc(8 + length, 0x28);
  frame.writeUInt32LE(0x184d2a5e, 0);
  frame.writeUInt32LE(length, 4);
  return frame;
}

/** Many frames of all types, like those of tools that compress in parallel or with an index. */
function framesOf(bytes: Buffer): Buffer {
  const frames = [skippable(3)];
  for (let at = 0; at < bytes.length; at += 77_777) {
    const part = bytes.subarray(at, at + 77_777);
    frames.push(zstdCompressSync(part, at % 2 === 0 ? withChecksum : {}), skippable(at % 9));
  }
  return Buffer.concat([...frames, zstdCompressSync(Buffer.alloc(0))]);
}

describe("detectCompression()", () => {
  test("decides by the first bytes", () => {
    assert.equal(detectCompression(gzipSync("a")), "gzip");
    assert.equal(detectCompression(zstdCompressSync("a")), "zstd");
    assert.equal(detectCompression(skippable(0)), "zstd");
    assert.equal(detectCompression(Buffer.from("file\0")), "none");
    assert.equal(detectCompression(Buffer.alloc(0)), "none");
  });
});

describe("Decompressor", () => {
  const half = content.length / 2;
  const blobs: readonly (readonly [string, Buffer])[] = [
    ["plain", content],
    ["gzip", gzipSync(content)],
    [
      "gzip of two members",
      Buffer.concat([gzipSync(content.subarray(0, half)), gzipSync(content.subarray(half))]),
    ],
    ["zstd", zstdCompressSync(content)],
    ["zstd of many frames", framesOf(content)],
  ];
  const cases = blobs.flatMap(([name, blob]) => {
    const both = [[name, blob, () => zlib(blob)] as const];
    if (!name.startsWith("gzip") || isal() === undefined) return both;
    return [...both, [`${name}, by ISA-L`, blob, () => isal() ?? zlib(blob)] as const];
  });
  for (const [name, blob, open] of cases) {
    test(`${name}, in chunks of any size`, async () => {
      assert.ok((await decompress([blob], open())).equals(content));
      for (let seed = 1; seed <= 6; seed++) {
        const longest = [100, 1000, 65_536, 400_000][seed % 4] ?? 100;
        const pieces = new Random(seed).split(blob, longest);
        assert.ok((await decompress(pieces, open())).equals(content), `seed ${seed}`);
      }
    });

    if (name === "plain") continue;
    test(`${name}, truncated or damaged`, async () => {
      for (const length of [5, 30, Math.floor(blob.length / 2), blob.length - 1]) {
        await assert.rejects(decompress([blob.subarray(0, length)], open()), (error) =>
          isKind(error, "invalid-argument"),
        );
      }
      const garbage = Buffer.concat([blob, Buffer.from("garbage")]);
      await assert.rejects(decompress([garbage], open()), (error) =>
        isKind(error, "invalid-argument"),
      );
    });
  }

  test("accepts single bytes", async () => {
    const small = Buffer.concat([zstdCompressSync("a"), skippable(2), zstdCompressSync("b")]);
    assert.equal(
      (await decompress([...small].map((byte) => Buffer.from([byte])))).toString(),
      "ab",
    );
  });

  test("reads a zstd frame whose header ends like a skippable frame, in any chunks", async () => {
    // 32 KiB of window, 0x184d + 256 bytes; the first block is 0 raw bytes, the other repeats a byte.
    const head = Buffer.from("28b52ffd502a4d18000000", "hex");
    const size = 0x184d + 256;
    const block = Buffer.from([0, 0, 0, 0x61]);
    block.writeUIntLE((size << 3) | (1 << 1) | 1, 0, 3);
    const blob = Buffer.concat([head, block]);
    for (let at = 1; at < blob.length; at++) {
      const found = await decompress([blob.subarray(0, at), blob.subarray(at)]);
      assert.ok(found.equals(Buffer.alloc(size, "a")), `cut at ${at}`);
    }
  });

  for (const [name, open] of [
    ["zlib", () => new ZlibStream("gzip")] as const,
    ["ISA-L", isal] as const,
  ]) {
    test(`drops data that is written after its reader has ended: ${name}`, async (t) => {
      const decompressor = open();
      if (decompressor === undefined) {
        t.skip("ISA-L is not installed");
        return;
      }
      const blob = gzipSync(random.bytes(300_000));
      await decompressor.write(blob.subarray(0, 200_000));
      for await (const piece of decompressor.output) {
        assert.ok(piece.length > 0);
        break;
      }
      for (let count = 0; count < 50; count++) await decompressor.write(blob);
      decompressor.end();
    });
  }
});

describe("ZstdFrames", () => {
  test("ends each piece at the end of its frame at the latest", () => {
    const frames = Array.from({ length: 20 }, (_, at) => zstdCompressSync(random.bytes(at * 10)));
    const blob = Buffer.concat(frames.flatMap((frame, at) => [frame, skippable(at)]));
    for (const longest of [1, 3, 50, blob.length]) {
      const splitter = new ZstdFrames();
      const pieces = new Random(longest)
        .split(blob, longest)
        .flatMap((piece) => [...splitter.split(piece)].map((part) => Buffer.from(part)));
      splitter.end();
      assert.ok(Buffer.concat(pieces).equals(Buffer.concat(frames)));
      const ends = new Set<number>();
      let at = 0;
      for (const piece of pieces) ends.add((at += piece.length));
      at = 0;
      for (const frame of frames) assert.ok(ends.has((at += frame.length)));
    }
  });
});
