import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLogLine } from "../../linux/file/index.ts";
import { LineJoiner } from "./line-joiner.ts";

test("LineJoiner joins partial lines of each stream", () => {
  const joiner = new LineJoiner();
  const push = (...lines: string[]) =>
    joiner
      .push(lines.flatMap((each) => parseLogLine(Buffer.from(each)) ?? []))
      .map(({ text: bytes, stream }) => `${stream} ${bytes.toString()}`);
  assert.deepEqual(push("1 stdout P a", "2 stderr F e", "3 stdout P b"), ["stderr e"]);
  assert.deepEqual(push("4 stdout F c", "5 stdout P d"), ["stdout abc"]);
  assert.deepEqual(
    joiner.end().map(({ text: bytes }) => bytes.toString()),
    ["d"],
  );
  const piece = `6 stdout P ${"x".repeat(600_000)}`;
  assert.equal(push(piece, piece).length, 1, "a line is not held without a limit");
});
