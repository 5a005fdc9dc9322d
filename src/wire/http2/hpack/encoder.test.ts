import assert from "node:assert/strict";
import { test } from "node:test";

import { hex } from "../../spdy/testing/hex.ts";
import { HeaderDecoder } from "./decoder.ts";
import { encodeHeaders } from "./encoder.ts";
import { staticTable } from "./static-table.ts";

const decode = (block: Buffer): unknown =>
  new HeaderDecoder({ maxTableBytes: 0, maxListBytes: 1e6, maxPairs: 1000 }).decode(block);

test("uses the static table for whole headers and for names", () => {
  assert.deepEqual(encodeHeaders([[":status", "200"]]), hex("88"));
  // Index 12 fits into 4 bits; content-type has 31.
  assert.deepEqual(encodeHeaders([[":status", "415"]]), hex("08 03 343135"));
  assert.deepEqual(encodeHeaders([["content-type", "a"]]), hex("0f10 01 61"));
  assert.deepEqual(
    encodeHeaders([["grpc-status", "0"]]),
    hex("00 0b 677270632d737461747573 01 30"),
  );
  assert.deepEqual(encodeHeaders([]), Buffer.alloc(0));
});

test("decodes to what was encoded, whatever the lengths", () => {
  const headers: [string, string][] = staticTable.map(([name, value]) => [name, value]);
  for (const length of [0, 1, 14, 15, 126, 127, 128, 254, 255, 16_510, 16_511, 100_000]) {
    headers.push(["grpc-message", "%".repeat(length)], ["x".repeat(length), "\xe4\t ~"]);
  }
  assert.deepEqual(decode(encodeHeaders(headers)), headers);
});

test("rejects characters that HTTP does not allow", () => {
  for (const value of ["a\r\nb", "\0", "\x7f", "\u{10a}", "é".normalize("NFD")]) {
    assert.throws(() => encodeHeaders([["grpc-message", value]]), {
      kind: "internal",
      message: /encode HTTP\/2 header "grpc-message": character \d+ is not allowed/,
    });
  }
});
