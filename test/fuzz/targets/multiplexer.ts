/** Frames of NRI's multiplexer, which plugins send. */
import assert from "node:assert/strict";

import { encodeMessage, MultiplexerReader } from "../../../src/wire/ttrpc/multiplexer-frames.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

/** The bytes of each connection, and whether the input was refused. */
function read(chunks: readonly Buffer[]): {
  readonly data: Readonly<Record<number, string>>;
  readonly failed: boolean;
} {
  const data: Record<number, string> = {};
  const done = attempt(["data-loss"], () => {
    const reader = new MultiplexerReader();
    for (const chunk of chunks) {
      for (const { connection, data: part } of reader.push(chunk)) {
        assert.ok(part.length > 0);
        data[connection] = (data[connection] ?? "") + part.toString("latin1");
      }
    }
    return true;
  });
  return { data, failed: done === undefined };
}

export const target: FuzzTarget = {
  name: "multiplexer",
  seeds: () => [
    encodeMessage(1, Buffer.from("request")),
    encodeMessage(2, Buffer.alloc(5000)),
    Buffer.concat([1, 2, 1].map((id) => encodeMessage(id, Buffer.from([id])))),
    Buffer.from("0000000100000000", "hex"),
    Buffer.from("000000010040000a", "hex"),
    Buffer.from("000000010040000b", "hex"),
  ],
  words: ["\0\0\0\x01\0\0\0\x02", "\0\x40\0\x0a", "\xff\xff\xff\xff"],
  check: (input) => {
    const whole = read([input]);
    assert.deepEqual(read(pieces(input)), whole);
    const bytes = Object.values(whole.data).reduce((sum, part) => sum + part.length, 0);
    assert.ok(bytes <= input.length);
    for (const [connection, part] of Object.entries(whole.data)) {
      const sent = encodeMessage(Number(connection), Buffer.from(part, "latin1"));
      assert.deepEqual(read([sent]).data, { [connection]: part });
    }
  },
};
