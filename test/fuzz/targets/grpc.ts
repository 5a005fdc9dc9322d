/** gRPC's messages in DATA frames, and the texts of its headers. */
import assert from "node:assert/strict";

import {
  decodeStatusMessage,
  encodeStatusMessage,
  formatTimeout,
  frame,
  MessageReader,
  parseTimeout,
} from "../../../src/wire/grpc/codec.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

const maxBytes = 4096;
const kinds = ["resource-exhausted", "unimplemented", "internal"] as const;

function read(chunks: readonly Buffer[]): readonly Buffer[] | undefined {
  const reader = new MessageReader(maxBytes);
  return attempt(kinds, () => {
    const messages: Buffer[] = [];
    for (const chunk of chunks) {
      messages.push(...reader.push(chunk));
      assert.ok(reader.heldBytes <= maxBytes + 5, "more is buffered than one message");
    }
    reader.end();
    return messages;
  });
}

function checkTexts(text: string): void {
  const encoded = encodeStatusMessage(text);
  assert.match(encoded, /^[ -~]*$/);
  assert.doesNotMatch(encoded, /^ | $/);
  assert.ok(encoded.length <= 8 * 1024 + 3);
  const isCut = encoded.length > 7 * 1024 && encoded.endsWith("...");
  if (!isCut) assert.equal(decodeStatusMessage(encoded), text.toWellFormed());
  decodeStatusMessage(text);
  const timeout = attempt(["invalid-argument"], () => parseTimeout(text));
  if (timeout === undefined) return;
  assert.ok(timeout >= 0 && parseTimeout(formatTimeout(timeout)) >= Math.min(timeout, 1e14));
}

export const target: FuzzTarget = {
  name: "grpc",
  seeds: () => [
    frame(Buffer.alloc(0)),
    Buffer.concat([frame(Buffer.from("one")), frame(Buffer.alloc(300, 7))]),
    Buffer.from([1, 0, 0, 0, 1, 0]),
    Buffer.from([0, 0, 0, 0x10, 1]),
    Buffer.from("5S"),
    Buffer.from("99999999H"),
    Buffer.from("a %41 % é \u{1f600}"),
  ],
  words: ["\0\0\0\0\x05", "\0\0\0\x10\0", "%E2%82%AC", "%", "100m"],
  check: (input) => {
    const whole = read([input]);
    assert.deepEqual(read(pieces(input)), whole);
    if (whole !== undefined) {
      // Nothing is lost or added.
      assert.deepEqual(Buffer.concat(whole.map(frame)), input);
    }
    checkTexts(input.toString("utf8"));
    checkTexts(input.toString("latin1"));
  },
};
