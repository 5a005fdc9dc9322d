/** Layers compressed with zstd: any bytes, and streams of many frames, which must decompress to what was compressed. */
import assert from "node:assert/strict";
import { zstdCompressSync, constants } from "node:zlib";

import fc from "fast-check";

import { ZlibStream } from "../../../src/unpack/decompress.ts";
import { ZstdFrames } from "../../../src/unpack/zstd-frames.ts";
import { assertSame, attempt, expectKind, type FuzzTarget, pieces } from "../target.ts";

const maxOutput = 8 * 1024 * 1024;

/** The plain bytes, or the error; both are the same for any chunks. */
async function decompress(chunks: readonly Buffer[]): Promise<string | Buffer> {
  const stream = new ZlibStream("zstd");
  const feed = async (): Promise<void> => {
    for (const chunk of chunks) await stream.write(Buffer.from(chunk));
    stream.end();
  };
  const fed = feed();
  const plain: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of stream.output) {
      plain.push(piece);
      bytes += piece.length;
      if (bytes > maxOutput) break;
    }
  } catch (error) {
    expectKind(error, ["invalid-argument"]);
    await fed;
    return "rejected";
  }
  await fed;
  return bytes > maxOutput ? "large" : Buffer.concat(plain);
}

/** The parts that a splitter yields: as many bytes as frames have, whatever the chunks are. */
function split(chunks: readonly Buffer[]): string | undefined {
  const frames = new ZstdFrames();
  return attempt(["invalid-argument"], () => {
    const parts: Buffer[] = [];
    for (const chunk of chunks) parts.push(...frames.split(chunk));
    frames.end();
    return Buffer.concat(parts).toString("hex");
  });
}

interface Recipe {
  readonly text: string;
  readonly level: number;
  readonly checksum: boolean;
  readonly size: boolean;
  readonly skip: number;
}

/** Frames with skippable ones between them. */
function streamOf(recipes: readonly Recipe[]): { readonly bytes: Buffer; readonly plain: Buffer } {
  const parts = recipes.map(({ text, level, checksum, size, skip }) => {
    const head = Buffer.alloc(skip < 0 ? 0 : 8 + skip);
    if (skip >= 0) {
      head.writeUInt32LE(0x184d2a50 + (skip % 16), 0);
      head.writeUInt32LE(skip, 4);
    }
    const params = {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0,
      [constants.ZSTD_c_contentSizeFlag]: size ? 1 : 0,
    };
    return Buffer.concat([head, zstdCompressSync(text, { params })]);
  });
  return {
    bytes: Buffer.concat(parts),
    plain: Buffer.from(recipes.map(({ text }) => text).join("")),
  };
}

const recipes = fc.array(
  fc.record({
    text: fc.oneof(
      fc.string(),
      fc.nat({ max: 300_000 }).map((length) => "ab".repeat(length)),
    ),
    level: fc.constantFrom(-5, 1, 3, 19),
    checksum: fc.boolean(),
    size: fc.boolean(),
    skip: fc.constantFrom(-1, 0, 1, 300),
  }),
  { minLength: 1, maxLength: 5 },
);
const marker = "recipes:";

/** `undefined` for a recipe that a mutation has broken. */
function parseRecipes(text: string): readonly Recipe[] | undefined {
  try {
    const all = JSON.parse(text) as readonly Recipe[];
    streamOf(all);
    return all;
  } catch {
    return undefined;
  }
}

export const target: FuzzTarget = {
  name: "zstd",
  seeds: () => [
    ...["", "plain", "ab".repeat(5000)].map((text) => zstdCompressSync(text)),
    Buffer.concat([zstdCompressSync("one"), zstdCompressSync("two")]),
    Buffer.from("502a4d180300000061626328b52ffd0000010000", "hex"),
    // A window of 2 GiB, and a block of one repeated byte.
    Buffer.from("28b52ffd00a8030080 61".replaceAll(" ", ""), "hex"),
    Buffer.from("28b52ffd0008fb0f0061", "hex"),
  ],
  words: ["\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18\0\0\0\0", "\x01\0\0", "\x24", "\xe4"],
  structured: recipes.map((all) => Buffer.from(marker + JSON.stringify(all))),
  maxLongBytes: 1024 * 1024,
  // The output is up to 8 MiB, three times.
  limitMs: (bytes) => 600 + bytes / 512,
  check: async (input) => {
    const text = input.toString("utf8");
    if (text.startsWith(marker)) {
      const recipe = parseRecipes(text.slice(marker.length));
      if (recipe === undefined) return;
      const { bytes, plain } = streamOf(recipe);
      for (const chunks of [[bytes], pieces(bytes), pieces(bytes, 1)]) {
        const found = await decompress(chunks);
        assert.ok(plain.equals(Buffer.from(found)), "it decompresses to other bytes");
      }
      return;
    }
    const whole = await decompress([input]);
    const inPieces = await decompress(pieces(input));
    assertSame(inPieces, whole, "other chunks");
    assert.equal(split(pieces(input)), split([input]));
    if (typeof whole !== "string") assert.notEqual(split([input]), undefined);
  },
};
