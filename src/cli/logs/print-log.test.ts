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

test("LogPrinter leaves out the newline that the log adds to output without one", async () => {
  const print = (exact: boolean, ...lines: string[]) => {
    const terminal = recordedTerminal();
    const printer = new LogPrinter(terminal, () => "", { exact });
    for (const each of lines)
      printer.print([parseLogLine(Buffer.from(each))].flatMap((l) => l ?? []));
    return { printer, written: terminal.written };
  };
  const lines = ["1 stdout P ab", "2 stdout F "];
  const exact = print(true, ...lines);
  exact.printer.end();
  assert.equal(exact.written.out, "ab");
  const usual = print(false, ...lines);
  usual.printer.end();
  assert.equal(usual.written.out, "ab\n");
  const more = print(true, ...lines, "3 stderr F e", "4 stdout F c", "5 stdout F ");
  more.printer.end();
  assert.deepEqual(more.written, { out: "ab\nc\n\n", err: "e\n" });
  const alive = print(true, ...lines);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(alive.written.out, "ab\n", "a process that still runs has written it");
});
