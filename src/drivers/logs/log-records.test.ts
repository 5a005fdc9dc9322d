import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LogRecords } from "./log-records.ts";

const time = "2026-12-01T10:00:00.123456789Z";
const record = (text: string): string => `${time} stdout F ${text}\n`;

function recordsOf(
  text: string | Buffer,
  { size = 1 << 20, isCut = false } = {},
): { readonly kept: string; readonly dropped: number } {
  const bytes = Buffer.from(text);
  const records = new LogRecords({ isCut });
  const kept: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    kept.push(records.push(bytes.subarray(at, at + size)));
  }
  return { kept: Buffer.concat(kept).toString("latin1"), dropped: records.end() };
}

describe("LogRecords", () => {
  test("keeps records byte for byte, in pieces of any size", () => {
    const log = [
      record("one"),
      `${time} stderr P part`,
      "\n",
      `${time} stdout F:x \u001b[2J\u0000\n`,
      "2026-12-01T10:00:00+01:00 stdout F \n",
      "2026-12-01T10:00:00Z stdout F\n",
      record("x".repeat(20_000)),
    ].join("");
    for (const size of [1, 7, 30, 1 << 20]) {
      assert.deepEqual(recordsOf(log, { size }), { kept: log, dropped: 0 });
    }
  });

  test("drops what is not a record, and what is incomplete", () => {
    const wrong = [
      "text",
      "",
      "now stdout F text",
      `\u001b]0;x\u0007 stdout F text`,
      `${time} stdin F text`,
      `${time} stdout X text`,
      `${time} stdout FF text`,
      `${time}  stdout F text`,
      `${time}\u001b[2J stdout F text`,
      time,
    ];
    const log = record("first") + wrong.map((line) => `${line}\n`).join("") + record("last");
    const expected = { kept: record("first") + record("last"), dropped: wrong.length };
    for (const size of [1, 5, 1 << 20]) assert.deepEqual(recordsOf(log, { size }), expected);
    const open = record("first") + record("last").slice(0, -1);
    assert.deepEqual(recordsOf(open), { kept: record("first"), dropped: 1 });
    const cut = `F text\n${record("first")}`;
    assert.deepEqual(recordsOf(cut, { isCut: true }), { kept: record("first"), dropped: 0 });
  });

  test("drops a very long line, and keeps no more than a record of it", () => {
    const long = record("x".repeat(300 * 1024));
    for (const size of [4096, 1 << 20]) {
      const found = recordsOf(long + record("next"), { size });
      assert.deepEqual(found, { kept: record("next"), dropped: 1 });
    }
    assert.deepEqual(recordsOf("x".repeat(1 << 20), { size: 4096 }), { kept: "", dropped: 1 });
  });

  test("refuses a file that is not a log", () => {
    assert.equal(recordsOf("\n".repeat(1_000)).dropped, 1_000);
    assert.throws(() => recordsOf("\n".repeat(1_001)), {
      kind: "invalid-argument",
      message: /more than 1000 lines that are not records of a CRI log/,
    });
  });
});
