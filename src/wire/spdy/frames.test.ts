import assert from "node:assert/strict";
import { test } from "node:test";

import {
  dataHead,
  goAwayFrame,
  pingFrame,
  resetFrame,
  settingsFrame,
  synReplyFrame,
  windowUpdateFrame,
} from "./frames.ts";
import { HeaderWriter } from "./headers.ts";
import { hex } from "./testing/hex.ts";

test("frames have the bytes of the protocol", () => {
  assert.deepEqual(dataHead(3, 5, true), hex("00000003 01000005"));
  assert.deepEqual(resetFrame(1, 5), hex("80030003 00000008 00000001 00000005"));
  assert.deepEqual(settingsFrame(65536), hex("80030004 0000000c 00000001 00000007 00010000"));
  assert.deepEqual(pingFrame(2), hex("80030006 00000004 00000002"));
  assert.deepEqual(goAwayFrame(5, 0), hex("80030007 00000008 00000005 00000000"));
  assert.deepEqual(windowUpdateFrame(1, 256), hex("80030009 00000008 00000001 00000100"));
  const writer = new HeaderWriter();
  // deflate of 32 KiB with a dictionary, the dictionary's number, a stored block, a flush
  const first = writer.write(new Map());
  assert.deepEqual(first, hex("783f e3c6a7c2 000400fbff 00000000 000000ffff"));
  assert.deepEqual(
    synReplyFrame(1, writer.write(new Map())),
    hex("80030002 00000012 00000001 000400fbff 00000000 000000ffff"),
  );
});
