import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { type Attribute, encodeAttributes, text } from "./message.ts";
import { parseRule } from "./nftables.ts";

const handle = Buffer.from([0, 0, 0, 0, 0, 0, 1, 2]);
const expression = (name: string, data: readonly Attribute[]): Attribute => [
  1,
  [
    [1, text(name)],
    [2, data],
  ],
];
const verdict = (code: number, chain: string): Attribute => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(code);
  const data: Attribute = [
    2,
    [
      [
        2,
        [
          [1, bytes],
          [2, text(chain)],
        ],
      ],
    ],
  ];
  return expression("immediate", [[1, Buffer.alloc(4)], data]);
};
const rule = (...more: readonly Attribute[]): Buffer =>
  Buffer.concat([
    Buffer.from([2, 0, 0, 0]),
    encodeAttributes([[1, text("nat")], [2, text("SHARED")], [3, handle], ...more]),
  ]);

describe("parseRule()", () => {
  test("reads the chain that a rule jumps to, after any other expressions", () => {
    const match = expression("match", [[1, text("comment")]]);
    const body = rule([4, [match, expression("counter", []), verdict(-3, "CNI-DN-1")]]);
    assert.deepEqual(parseRule(body), {
      chain: "SHARED",
      handle,
      target: "CNI-DN-1",
      comment: undefined,
    });
  });

  test("does not take another verdict for a jump", () => {
    const loaded = expression("immediate", [[2, [[1, Buffer.alloc(4)]]]]);
    for (const other of [verdict(-4, "CNI-DN-1"), verdict(1, ""), loaded]) {
      assert.equal(parseRule(rule([4, [other]])).target, undefined);
    }
  });

  test("reads the comment among what nft keeps with a rule", () => {
    const comment = Buffer.from("\u0000\u0003c1\u0000");
    assert.equal(parseRule(rule([7, comment])).comment, "c1");
    assert.equal(parseRule(rule([7, Buffer.from([1, 2, 9, 9, ...comment])])).comment, "c1");
    for (const other of [[], [1], [1, 0], [1, 200, 5]]) {
      assert.equal(parseRule(rule([7, Buffer.from(other)])).comment, undefined);
    }
  });

  test("throws for a length that leads out of the bytes", () => {
    const body = rule([4, [verdict(-3, "X")]]);
    for (const at of [4, 12, 24, 36]) {
      const bytes = Buffer.from(body);
      bytes.writeUInt16LE(0xfff0, at);
      assert.throws(
        () => parseRule(bytes),
        (error) => isKind(error, "internal"),
        String(at),
      );
    }
  });
});
