import assert from "node:assert/strict";
import { test } from "node:test";
import { parseLogLine } from "../../linux/file/index.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";
import { LogPrinter } from "./print-log.ts";

test("LogPrinter joins partial lines, separates streams and prefixes lines", () => {
  const terminal = recordedTerminal();
  const printer = new LogPrinter(terminal, ({ time }) => `[${time}] `);
  const lines = ["1 stdout P ab", "2 stderr F err", "3 stdout P cd", "4 stdout F e", "5 stdout F "];
  for (const batch of [lines.slice(0, 3), lines.slice(3)]) {
    printer.print(batch.flatMap((each) => parseLogLine(Buffer.from(each)) ?? []));
  }
  assert.deepEqual(terminal.written, { out: "[1] abcde\n[5] \n", err: "[2] err\n" });
});
