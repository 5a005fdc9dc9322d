/** The lines of a CRI log: containers may be able to write to the file. */
import assert from "node:assert/strict";
import { parseLogTime } from "../../../src/base/log-time.ts";
import { type LogLine, LogLines } from "../../../src/linux/file/log-line.ts";
import { type FuzzTarget, textSeeds } from "../target.ts";

const maxBytes = 64;

/** The lines of a log that is read in chunks of these sizes. */
function linesOf(input: Buffer, chunkBytes: number): readonly LogLine[] {
  const lines = new LogLines(maxBytes);
  const found: LogLine[] = [];
  for (let at = 0; at < input.length; at += chunkBytes) {
    // Not as arguments: there may be a million.
    for (const line of lines.push(input.subarray(at, at + chunkBytes))) found.push(line);
  }
  return found;
}

/** The lines without the cuts, which depend on the chunks. */
function joined(lines: readonly LogLine[]): readonly string[] {
  const whole: string[] = [];
  let isOpen = false;
  for (const { time, stream, partial, text } of lines) {
    const shown = text.toString("latin1");
    if (isOpen) whole.push(`${whole.pop() ?? ""}${shown}`);
    else whole.push(`${time} ${stream} ${shown}`);
    isOpen = partial;
  }
  return isOpen ? whole.slice(0, -1) : whole;
}

export const target: FuzzTarget = {
  name: "log-lines",
  seeds: () =>
    textSeeds(
      "2026-01-31T12:00:00.123456789Z stdout F text\n",
      "2026-01-31T12:00:00.123456789+01:00 stderr P part\n2026-01-31T12:00:00Z stderr F end\n",
      "2026-01-31T12:00:00Z stdout F\n\n\0\0\nstdout F\n",
      `2026-01-31T12:00:00Z stdout F:x ${"x".repeat(200)}\nno form ${"y".repeat(200)}`,
    ),
  words: [
    "stdout",
    "stderr",
    " F ",
    " P ",
    " F:",
    "\n",
    "T12:00:00",
    "Z ",
    "+01:00",
    "x".repeat(70),
  ],
  check: (whole) => {
    // It is read several times, a byte at a time.
    const input = whole.subarray(0, 16 * 1024);
    const all = linesOf(input, input.length + 1);
    for (const { time, text } of all) {
      const ns = parseLogTime(time);
      assert.ok(ns === undefined || ns >= 0n);
      assert.ok(time.length <= 64 && text.length <= input.length);
    }
    for (const chunkBytes of [1, 7, 64]) {
      const chunks = linesOf(input, chunkBytes);
      for (const { text } of chunks) assert.ok(text.length <= maxBytes + chunkBytes);
    }
    // A head that is longer than the limit is cut, too, so only shorter ones mean the same in any chunks.
    const lines = input.toString("latin1").split("\n");
    if (lines.every((line) => line.length <= maxBytes)) {
      assert.deepEqual(joined(linesOf(input, 1)), joined(all));
    }
  },
};
