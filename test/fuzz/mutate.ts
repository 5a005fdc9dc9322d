/** Mutations of bytes: those of every fuzzer, and some that make inputs long, for parsers that are not linear. */
import type { Random } from "../support/random.ts";

const interesting = [
  0, 1, 7, 8, 16, 32, 64, 100, 127, 128, 255, 256, 512, 1000, 4096, 32767, 32768, 65535, 65536,
  0x7fffffff, 0x80000000, 0xffffffff,
];

type Mutation = (bytes: Buffer, random: Random, from: MutationSource) => Buffer;

/** What mutations take from. */
export interface MutationSource {
  readonly corpus: readonly Buffer[];
  readonly words: readonly Buffer[];
  readonly maxBytes: number;
}

/** A place in the bytes, and a length from there. */
function range(bytes: Buffer, random: Random, longest = 64): readonly [number, number] {
  const at = random.between(0, Math.max(0, bytes.length - 1));
  return [at, Math.min(bytes.length, at + random.between(1, longest))];
}

function replaced(bytes: Buffer, from: number, to: number, by: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, from), by, bytes.subarray(to)]);
}

function flipBit(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.between(0, copy.length - 1);
  copy[at] = (copy[at] ?? 0) ^ (1 << random.between(0, 7));
  return copy;
}

function setByte(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  const at = random.between(0, copy.length - 1);
  const old = copy[at] ?? 0;
  copy[at] = random.chance(0.5) ? random.between(0, 255) : (old + random.between(-3, 3)) & 0xff;
  return copy;
}

function setNumber(bytes: Buffer, random: Random): Buffer {
  const width = [1, 2, 4, 8][random.between(0, 3)] ?? 1;
  const value = interesting[random.between(0, interesting.length - 1)] ?? 0;
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(value));
  const big = number.subarray(8 - width);
  const at = random.between(0, bytes.length);
  return replaced(bytes, at, at + width, random.chance(0.7) ? big : Buffer.from(big).reverse());
}

function setDigits(bytes: Buffer, random: Random): Buffer {
  const text = bytes.toString("latin1");
  const numbers = [...text.matchAll(/\d+/g)];
  const found = numbers[random.between(0, Math.max(0, numbers.length - 1))];
  if (found === undefined) return setByte(bytes, random);
  const old = Number(found[0]);
  const others = [old + 1, old - 1, 0, 2 ** 31, 2 ** 32, 2 ** 53, "9".repeat(30), `-${old}`, "1e9"];
  const digits = Buffer.from(String(others[random.between(0, others.length - 1)]));
  return replaced(bytes, found.index, found.index + found[0].length, digits);
}

function insertWord(bytes: Buffer, random: Random, { words }: MutationSource): Buffer {
  const word = words[random.between(0, words.length - 1)] ?? Buffer.from([random.between(0, 255)]);
  const at = random.between(0, bytes.length);
  return replaced(bytes, at, random.chance(0.5) ? at : at + word.length, word);
}

function remove(bytes: Buffer, random: Random): Buffer {
  const [from, to] = range(bytes, random, random.chance(0.8) ? 16 : bytes.length);
  return replaced(bytes, from, to, Buffer.alloc(0));
}

function copyRange(bytes: Buffer, random: Random): Buffer {
  const [from, to] = range(bytes, random, random.chance(0.7) ? 32 : 1024);
  const at = random.between(0, bytes.length);
  return replaced(bytes, at, at, bytes.subarray(from, to));
}

function splice(bytes: Buffer, random: Random, { corpus }: MutationSource): Buffer {
  const other = corpus[random.between(0, corpus.length - 1)] ?? bytes;
  const cut = random.between(0, bytes.length);
  return Buffer.concat([bytes.subarray(0, cut), other.subarray(random.between(0, other.length))]);
}

/** Repeats a few bytes, seldom until the input is as long as it may be. */
function repeat(bytes: Buffer, random: Random, { maxBytes }: MutationSource): Buffer {
  return repeatPart(bytes, random, random.chance(0.3) ? maxBytes : bytes.length + 2000);
}

/** The bytes with a part of them repeated up to a length. */
export function repeatPart(bytes: Buffer, random: Random, length: number): Buffer {
  const [from, to] = range(bytes, random, random.chance(0.5) ? 2 : 24);
  const part = bytes.subarray(from, to);
  const left = length - bytes.length;
  if (part.length === 0 || left <= 0) return bytes;
  return replaced(bytes, to, to, Buffer.alloc(left, part));
}

const mutations: readonly (readonly [number, Mutation])[] = [
  [4, flipBit],
  [5, setByte],
  [3, setNumber],
  [3, setDigits],
  [6, insertWord],
  [4, remove],
  [3, copyRange],
  [2, splice],
  [0.4, repeat],
];
const weight = mutations.reduce((sum, [share]) => sum + share, 0);

/** A mutated copy, never longer than the limit. */
export function mutate(bytes: Buffer, random: Random, from: MutationSource): Buffer {
  let result = bytes.length === 0 ? Buffer.from([random.between(0, 255)]) : bytes;
  const rounds = random.chance(0.6) ? 1 : random.between(2, 8);
  for (let round = 0; round < rounds; round++) {
    if (result.length === 0) break;
    let left = random.next() * weight;
    const chosen = mutations.find(([share]) => (left -= share) < 0) ?? mutations[0];
    if (chosen !== undefined) result = chosen[1](result, random, from);
  }
  return Buffer.from(result.subarray(0, from.maxBytes));
}
