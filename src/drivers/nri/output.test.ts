import assert from "node:assert/strict";
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { logOutput } from "./output.ts";

test("logOutput logs lines, long ones in parts, and no more than its limit", async () => {
  const lines: string[] = [];
  const log: Logger = { ...silentLogger, info: (message) => lines.push(message) };
  const stream = new PassThrough();
  logOutput(stream, "10-a", log);
  logOutput(undefined, "10-a", log);
  stream.write("hel");
  stream.write(`lo\n\n${"y".repeat(5000)}\n`);
  stream.end("x\n".repeat(100_000) + "last");
  await once(stream, "close");
  assert.equal(lines[0], 'NRI plugin "10-a": hello');
  assert.equal(lines[1]?.length, 'NRI plugin "10-a": '.length + 4096);
  assert.equal(lines.length, 101);
  assert.match(lines[100] ?? "", /10-a": 99904 more lines were not logged/);
});
