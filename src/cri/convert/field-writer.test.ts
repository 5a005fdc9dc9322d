import assert from "node:assert/strict";
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { test } from "node:test";

import { FieldWriter, sizeOfLength, sizeOfVarint } from "./field-writer.ts";

const values = [0n, 1n, 127n, 128n, 16_383n, 16_384n, (1n << 31n) - 1n, 1n << 31n, 1n << 32n]
  .concat([(1n << 53n) - 1n, 1n << 53n, (1n << 53n) + 1n, 1_796_079_391_123_456_789n])
  .concat([(1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]);

test("FieldWriter.varint() writes what other encoders write, in the announced size", () => {
  for (const value of values) {
    const bytes = new FieldWriter(sizeOfVarint(value)).varint(value).finish();
    assert.deepEqual([...bytes], [...new BinaryWriter().uint64(value).finish()], String(value));
    assert.equal(BigInt(new BinaryReader(bytes).uint64()), value);
  }
});

test("FieldWriter.length() writes sizes up to 2^31 - 1", () => {
  for (const value of [0, 127, 128, 16_383, 16_384, 2 ** 21, 2 ** 28, 2 ** 31 - 1]) {
    const bytes = new FieldWriter(sizeOfLength(value)).length(value).finish();
    assert.equal(new BinaryReader(bytes).uint32(), value);
  }
});

test("FieldWriter.finish() refuses a message of another size than announced", () => {
  assert.throws(() => new FieldWriter(2).byte(1).finish(), /expected 2 bytes, wrote 1/);
  assert.throws(() => new FieldWriter(2).bytes(new Uint8Array(3)).finish(), RangeError);
});
