/**
 * Layers compressed with gzip. ISA-L (native/blob.c, native/gzip-header.c) finds in any bytes what zlib finds, in
 * input and output of any sizes, and writes nothing outside of its output.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { deflateRawSync, gunzipSync, gzipSync, crc32 } from "node:zlib";

import fc from "fast-check";

import { RuntimeError } from "../../../src/base/errors.ts";
import {
  GzipInflater,
  openSha256,
  openSha256Pair,
  sha256Here,
} from "../../../src/linux/blob/index.ts";
import { InflateStream } from "../../../src/unpack/inflate.ts";
import { assertSame, expectKind, type FuzzTarget, pieces } from "../target.ts";

const maxOutput = 2 * 1024 * 1024;
const guard = 64;
/** The calls after which an output of a few bytes at a time is given up: each is a job of the pool. */
const maxCalls = 5000;

/** What zlib finds; "rejected" for corrupt input, "large" for too much output. */
function byZlib(input: Buffer): string | Buffer {
  try {
    return gunzipSync(input, { maxOutputLength: maxOutput });
  } catch (error) {
    return error instanceof RangeError ? "large" : "rejected";
  }
}

/** The addon itself, with an output of a few bytes at a time and guards around it; "none" where that takes too many calls. */
async function byAddon(input: Buffer, outputBytes: number): Promise<string | Buffer> {
  const inflater = GzipInflater.open();
  if (inflater === undefined) return "none";
  const plain: Buffer[] = [];
  let [total, calls, isComplete] = [0, 0, false];
  try {
    for (const chunk of pieces(input)) {
      for (let rest: Uint8Array = chunk, isFull = false; rest.length > 0 || isFull; ) {
        if (++calls > maxCalls) return "none";
        const whole = Buffer.alloc(outputBytes + 2 * guard, 0xa5);
        const output = whole.subarray(guard, guard + outputBytes);
        const { consumed, produced, state } = await inflater.inflate(rest, output);
        assert.ok(consumed <= rest.length && produced <= outputBytes);
        const around = Buffer.concat([
          whole.subarray(0, guard),
          whole.subarray(guard + outputBytes),
        ]);
        assert.ok(
          around.every((byte) => byte === 0xa5),
          "it wrote outside of its output",
        );
        plain.push(Buffer.from(output.subarray(0, produced)));
        total += produced;
        if (total > maxOutput) return "large";
        isComplete = state !== "more";
        if (state === "padding") return Buffer.concat(plain);
        assert.ok(consumed + produced > 0 || isComplete || rest.length === 0, "no progress");
        rest = rest.subarray(consumed);
        isFull = produced === outputBytes;
      }
    }
  } catch (error) {
    if (error instanceof RuntimeError) expectKind(error, ["invalid-argument"]);
    else throw error;
    return "rejected";
  }
  return isComplete ? Buffer.concat(plain) : "rejected";
}

async function byStream(input: Buffer): Promise<string | Buffer> {
  const inflater = GzipInflater.openHashed() ?? GzipInflater.open();
  if (inflater === undefined) return "none";
  const found = await throughStream(inflater, input);
  const [consumed, produced] = inflater.digests ?? [];
  if (consumed !== undefined) assert.equal(consumed.digest(), sha256(input));
  if (produced !== undefined && typeof found !== "string") {
    assert.equal(produced.digest(), sha256(found));
  }
  return found;
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

async function throughStream(inflater: GzipInflater, input: Buffer): Promise<string | Buffer> {
  const stream = new InflateStream(inflater);
  const feed = async (): Promise<void> => {
    for (const chunk of pieces(input, 9)) await stream.write(chunk);
    stream.end();
  };
  const fed = feed();
  const plain: Buffer[] = [];
  let total = 0;
  try {
    for await (const piece of stream.output) {
      plain.push(Buffer.from(piece));
      total += piece.length;
      if (total > maxOutput) break;
    }
  } catch (error) {
    expectKind(error, ["invalid-argument"]);
    await fed;
    return "rejected";
  }
  await fed;
  return total > maxOutput ? "large" : Buffer.concat(plain);
}

/** A member with every part of the header that RFC 1952 has. */
function member(
  text: string,
  { extra = "", name = "", comment = "", check = false, level = 6 } = {},
): Buffer {
  const has = [check, extra !== "", name !== "", comment !== ""];
  const flags = has.reduce((sum, is, at) => (is ? sum | (2 << at) : sum), 0);
  const parts = [Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3])];
  if (extra !== "") parts.push(Buffer.from([extra.length, 0]), Buffer.from(extra, "latin1"));
  if (name !== "") parts.push(Buffer.from(`${name}\0`, "latin1"));
  if (comment !== "") parts.push(Buffer.from(`${comment}\0`, "latin1"));
  const header = Buffer.concat(parts);
  const sum = Buffer.alloc(check ? 2 : 0);
  if (check) sum.writeUInt16LE(crc32(header) & 0xffff);
  const end = Buffer.alloc(8);
  end.writeUInt32LE(crc32(text), 0);
  end.writeUInt32LE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, sum, deflateRawSync(text, { level }), end]);
}

const members = fc.array(
  fc.record({
    text: fc.oneof(
      fc.string(),
      fc.nat({ max: 8000 }).map((length) => "abc".repeat(length)),
    ),
    extra: fc.constantFrom("", "e", "x".repeat(200)),
    name: fc.constantFrom("", "n", "x".repeat(300)),
    comment: fc.constantFrom("", "c"),
    check: fc.boolean(),
    level: fc.constantFrom(0, 1, 6, 9),
  }),
  { minLength: 1, maxLength: 4 },
);
const tails = fc.constantFrom("", "\0", "\0\0\0", "junk", "\x1f", "\x1f\x8b", "\x1f\x8b\x08");

export const target: FuzzTarget = {
  name: "gzip",
  isNative: true,
  seeds: () => [
    gzipSync(""),
    gzipSync("hello"),
    gzipSync("ab".repeat(5000), { level: 9 }),
    member("text", { extra: "e", name: "n", comment: "c", check: true }),
    Buffer.concat([gzipSync("one"), gzipSync("two"), Buffer.alloc(3)]),
    gzipSync("stored", { level: 0 }),
  ],
  words: ["\x1f\x8b\x08\0", "\x1f\x8b\x08\x1f", "\xff\xff\0\0", "\0\0\xff\xff"],
  structured: fc
    .tuple(members, tails)
    .map(([all, tail]) =>
      Buffer.concat([...all.map((each) => member(each.text, each)), Buffer.from(tail, "latin1")]),
    ),
  maxBytes: 8 * 1024,
  maxLongBytes: 256 * 1024,
  limitMs: (bytes) => 1500 + bytes / 40,
  check: async (input) => {
    const expected = byZlib(input);
    // The first chunk says that it is gzip (detectCompression).
    if (input[0] === 0x1f && input[1] === 0x8b) {
      for (const size of [7, 4096, 256 * 1024]) {
        const found = await byAddon(input, size);
        if (found !== "none") assertSame(found, expected, `an output of ${size} bytes`);
      }
      const found = await byStream(input);
      if (found !== "none") assertSame(found, expected, "the stream");
    }
    const [inPool, here, pair] = [openSha256(), sha256Here(), openSha256Pair()];
    const [one, other] = pair ?? [openSha256(), openSha256()];
    const atOnce = other.update(input);
    for (const chunk of pieces(input)) {
      const updates = [inPool, here, one].map((hash) => hash.update(chunk));
      one.hurry();
      await Promise.all(updates);
    }
    await atOnce;
    const expectedDigest = here.digest();
    for (const hash of [inPool, one, other]) assert.equal(hash.digest(), expectedDigest);
  },
};
