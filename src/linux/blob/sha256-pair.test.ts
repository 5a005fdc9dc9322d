// The two digests of openSha256Pair() beside those of node:crypto, which is OpenSSL.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { openSha256Pair, type Sha256 } from "./native.ts";

const BLOCK = 64;

/** Numbers below a limit, the same in each run. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const random = randomFrom(1);
const noise = Buffer.from(Array.from({ length: 300_000 }, () => random(256)));
/** Begins at any address, as input does. */
const bytesOf = (size: number): Buffer => {
  const at = random(noise.length - size);
  return noise.subarray(at, at + size);
};

const skip =
  openSha256Pair() === undefined ? "the processor has no instructions for SHA-256" : false;

function pair(): readonly [Sha256, Sha256] {
  const both = openSha256Pair();
  assert.ok(both !== undefined);
  return both;
}

const byCrypto = (...pieces: readonly Buffer[]): string => {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
};

/** Hashes two lists of pieces, each in its own time. */
async function digestsOf(
  lists: readonly [readonly Buffer[], readonly Buffer[]],
): Promise<readonly string[]> {
  const hashes = pair();
  await Promise.all(
    hashes.map(async (hash, which) => {
      for (const piece of lists[which as 0 | 1]) {
        const done = hash.update(piece);
        if (which === 0) setImmediate(() => hash.hurry());
        await done;
      }
    }),
  );
  return hashes.map((hash) => hash.digest());
}

test("processors of today that have the instructions use them", () => {
  const hasFlag = /\bsha_ni\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  assert.equal(openSha256Pair() !== undefined, hasFlag);
});

test("FIPS 180's examples, and a million times a", { skip }, async () => {
  const vectors = [
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ],
    [
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ],
    ["a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
  ] as const;
  for (const [text, digest] of vectors) {
    const piece = Buffer.from(text);
    assert.deepEqual(await digestsOf([[piece], [piece]]), [digest, digest]);
    assert.deepEqual(await digestsOf([[], [piece]]), [byCrypto(), digest]);
    assert.deepEqual(await digestsOf([[piece], []]), [digest, byCrypto()]);
  }
});

test("all sizes around the ends of blocks, beside another of any size", { skip }, async () => {
  for (let size = 0; size <= 4 * BLOCK + 1; size++) {
    const [one, other] = [bytesOf(size), bytesOf(random(5 * BLOCK))];
    assert.deepEqual(
      await digestsOf([[one], [other]]),
      [byCrypto(one), byCrypto(other)],
      `${size}`,
    );
    assert.deepEqual(
      await digestsOf([[other], [one]]),
      [byCrypto(other), byCrypto(one)],
      `${size}`,
    );
  }
});

test("all places to split two blocks", { skip }, async () => {
  const whole = bytesOf(3 * BLOCK);
  const expected = byCrypto(whole);
  for (let at = 0; at <= whole.length; at++) {
    const halves = [whole.subarray(0, at), whole.subarray(at)];
    assert.deepEqual(await digestsOf([halves, [whole]]), [expected, expected], `split at ${at}`);
    assert.deepEqual(await digestsOf([[whole], halves]), [expected, expected], `split at ${at}`);
  }
});

test("streams of different lengths in pieces of any size", { skip }, async () => {
  const piecesOf = (count: number, largest: number): readonly Buffer[] =>
    Array.from({ length: count }, () => bytesOf(random(largest)));
  for (let round = 0; round < 60; round++) {
    const largest = [3, 70, 1000, 100_000][round % 4] ?? 1;
    const lists = [piecesOf(random(20), largest), piecesOf(random(20), largest)] as const;
    assert.deepEqual(
      await digestsOf(lists),
      lists.map((pieces) => byCrypto(...pieces)),
      `round ${round}`,
    );
  }
});

test("the first one waits for the second one, or for hurry()", { skip }, async () => {
  const [first, second] = pair();
  const order: string[] = [];
  const waiting = first.update(bytesOf(1000)).then(() => order.push("first"));
  await second.update(bytesOf(10)).then(() => order.push("second"));
  await waiting;
  assert.deepEqual(order, ["first", "second"], "both in one job");
  const alone = first.update(bytesOf(10));
  first.hurry();
  await alone;
  await assert.rejects(
    Promise.all([first.update(bytesOf(1)), first.update(bytesOf(1))]),
    TypeError,
  );
});
