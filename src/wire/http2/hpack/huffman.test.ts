import assert from "node:assert/strict";
import { test } from "node:test";

import { HpackError } from "./errors.ts";
import { decodeHuffman } from "./huffman.ts";
import { bytesOf, huffmanBits } from "./testing/huffman.ts";

const decode = (bytes: Buffer): string => decodeHuffman(bytes, 0, bytes.length);
const byte = (code: number): string => String.fromCharCode(code);
const allBytes = Array.from({ length: 256 }, (_, code) => byte(code));

test("decodes each byte, alone and at each position within a byte", () => {
  for (const symbol of allBytes) {
    assert.notEqual(huffmanBits(symbol), "", `a code of ${symbol.charCodeAt(0)}`);
    // "0" has 5 bits, so these prefixes begin the code at each of the 8 bits.
    for (let count = 0; count < 8; count++) {
      const text = "0".repeat(count) + symbol;
      assert.equal(decode(bytesOf(huffmanBits(text))), text);
      assert.equal(decode(bytesOf(huffmanBits(`${text}a${symbol}`))), `${text}a${symbol}`);
    }
  }
});

test("decodes long strings of the shortest and the longest codes", () => {
  for (const text of ["0".repeat(10_000), "\n".repeat(3_000), allBytes.join("").repeat(20), ""]) {
    assert.equal(decode(bytesOf(huffmanBits(text))), text);
  }
});

test("reads only between the offsets", () => {
  const bytes = bytesOf(huffmanBits("grpc"));
  const around = Buffer.concat([Buffer.from([0]), bytes, Buffer.from([0, 0])]);
  assert.equal(decodeHuffman(around, 1, 1 + bytes.length), "grpc");
});

test("accepts up to 7 bits of padding, and no more", () => {
  // 8 codes of 5 bits fill 5 bytes.
  assert.equal(decode(bytesOf("00000".repeat(8))), "0".repeat(8));
  for (let count = 1; count < 8; count++) {
    const bits = huffmanBits("0".repeat(count));
    const bytes = bytesOf(bits);
    assert.equal(decode(bytes), "0".repeat(count), `${bytes.length * 8 - bits.length} bits`);
    assert.throws(() => decode(Buffer.concat([bytes, Buffer.from([0xff])])), HpackError);
  }
  assert.throws(() => decode(Buffer.from([0xff])), /truncated/);
  assert.throws(() => decode(Buffer.from([0xff, 0xff, 0xff])), /truncated/);
});

test("rejects padding that is not the beginning of EOS", () => {
  // Three, one, four and two bits of padding: too few for a code.
  for (const count of [1, 3, 4, 6]) {
    const bits = huffmanBits("0".repeat(count));
    const padding = 8 * Math.ceil(bits.length / 8) - bits.length;
    assert.ok(padding < 5);
    for (let value = 0; value < 2 ** padding - 1; value++) {
      const wrong = bits + value.toString(2).padStart(padding, "0");
      assert.throws(() => decode(bytesOf(wrong)), HpackError, wrong);
    }
  }
});

test("rejects EOS and codes that end too soon", () => {
  assert.throws(() => decode(Buffer.from([0xff, 0xff, 0xff, 0xff])), /EOS/);
  assert.throws(() => decode(bytesOf(`${huffmanBits("ab")}${"1".repeat(30)}`)), /EOS/);
  for (const symbol of allBytes) {
    const bits = huffmanBits(symbol);
    for (let length = 8; length < bits.length; length += 8) {
      assert.throws(() => decode(bytesOf(bits.slice(0, length))), HpackError);
    }
  }
});
