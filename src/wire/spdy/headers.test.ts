import assert from "node:assert/strict";
import { test } from "node:test";
import { constants, createDeflate, deflateSync } from "node:zlib";

import { dictionary, dictionaryId } from "./dictionary.ts";
import { HeaderReader, HeaderWriter, maxHeaderBytes } from "./headers.ts";
import { hex } from "./testing/hex.ts";

test("dictionary is the one of SPDY/3, by its checksum in a zlib stream", () => {
  assert.equal(dictionary.length, 1423);
  // zlib writes the checksum of the dictionary after its header (RFC 1950).
  assert.equal(deflateSync("", { dictionary }).readUInt32BE(2), dictionaryId);
});

test("HeaderReader reads what zlib compresses, block after block", async () => {
  const deflate = createDeflate({ dictionary, level: 9 });
  const reader = new HeaderReader();
  for (const type of ["error", "stdin", "stdout", "stdout"]) {
    const plain = inflated(new HeaderWriter().write(new Map([["streamtype", type]])));
    deflate.write(plain);
    await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    const block = deflate.read() as Buffer;
    assert.deepEqual([...reader.read(block)], [["streamtype", type]]);
  }
  deflate.destroy();
});

/** The plain bytes of the first block of a HeaderWriter, after the zlib header and the lengths of the block. */
function inflated(block: Buffer): Buffer {
  return block.subarray(6 + 5, -5);
}

test("HeaderReader rejects a decompression bomb, another dictionary, and truncated blocks", () => {
  const bomb = deflateSync(Buffer.alloc(maxHeaderBytes + 1), { dictionary });
  assert.throws(() => new HeaderReader().read(bomb), /more than 16384 bytes/);
  const other = deflateSync("x", { dictionary: Buffer.from("other") });
  assert.throws(() => new HeaderReader().read(other), /other dictionary/);
  assert.throws(() => new HeaderReader().read(Buffer.from("GET / HTTP/1.1")), /not a zlib stream/);
  const wrongLength = deflateSync(hex("00000001 7fffffff 61"), { dictionary });
  assert.throws(() => new HeaderReader().read(wrongLength), /truncated/);
  const many = deflateSync(hex("7fffffff"), { dictionary });
  assert.throws(() => new HeaderReader().read(many), /truncated/);
});
