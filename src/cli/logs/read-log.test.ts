import assert from "node:assert/strict";
import {
  appendFileSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { makeFifo } from "../../linux/stream/index.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";
import { LineSplitter, parseLogLine } from "./log-line.ts";
import { LogPrinter } from "./print-log.ts";
import { readLog, type ReadLogOptions } from "./read-log.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-log-"));
after(() => rmSync(directory, { recursive: true }));

let made = 0;
function logFile(...lines: string[]): string {
  made += 1;
  const path = join(directory, `${made}.log`);
  writeFileSync(path, text(lines));
  return path;
}

function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

/** A log line of second `n` since 1970. */
function line(n: number, words: string, stream = "stdout", tag = "F"): string {
  return `${new Date(n * 1000).toISOString().replace("Z", "000000Z")} ${stream} ${tag} ${words}`;
}

const never = new AbortController().signal;

async function read(path: string, options: Partial<ReadLogOptions> = {}): Promise<string[]> {
  const found: string[] = [];
  for await (const lines of readLog(path, { signal: never, ...options })) {
    found.push(...lines.map((each) => `${each.text.toString()}${each.partial ? "+" : ""}`));
  }
  return found;
}

describe("readLog()", () => {
  test("returns lines of any length from the end, with partial lines", async () => {
    const long = "x".repeat(100_000);
    const path = logFile(
      line(1, "a"),
      line(2, "b1", "stdout", "P"),
      line(3, "b2"),
      line(4, long),
      line(5, "c", "stderr"),
      "no form",
    );
    const all = ["a", "b1+", "b2", long, "c", "no form"];
    assert.deepEqual(await read(path), all);
    assert.deepEqual(await read(path, { tail: 0 }), []);
    assert.deepEqual(await read(path, { tail: 2 }), all.slice(4));
    assert.deepEqual(await read(path, { tail: 3 }), all.slice(3));
    assert.deepEqual(await read(path, { tail: 4 }), all.slice(1));
    assert.deepEqual(await read(path, { tail: 5 }), all);
    assert.deepEqual(await read(path, { tail: 99 }), all);
    assert.deepEqual(await read(logFile(), { tail: 3 }), []);
  });

  test("returns lines from a time on", async () => {
    const path = logFile(line(1, "a"), line(2, "b"), line(3, "c"));
    assert.deepEqual(await read(path, { sinceMs: 2000 }), ["b", "c"]);
    assert.deepEqual(await read(path, { sinceMs: 2001 }), ["c"]);
  });

  test("follows a file through a rotation and a truncation until the container has exited", async () => {
    const path = logFile(line(1, "a"));
    const steps: (() => void)[] = [
      () => appendFileSync(path, text([line(2, "b")])),
      () => {
        // As in kubelet: the file is renamed, written to its end, and a new one is created.
        renameSync(path, `${path}.old`);
        appendFileSync(`${path}.old`, text([line(3, "c")]));
        writeFileSync(path, text([line(4, "d")]));
      },
      () => truncateSync(path),
      () => appendFileSync(path, text([line(5, "e")])),
    ];
    const hasEnded = (): Promise<boolean> => {
      steps.shift()?.();
      return Promise.resolve(steps.length === 0);
    };
    assert.deepEqual(await read(path, { follow: { hasEnded } }), ["a", "b", "c", "d", "e"]);
  });

  test("waits until the file exists only if it follows", async () => {
    const path = join(directory, "later.log");
    await assert.rejects(read(path), { kind: "not-found" });
    assert.deepEqual(await read(path, { follow: { hasEnded: async () => true } }), []);
    const hasEnded = async (): Promise<boolean> => {
      writeFileSync(path, text([line(1, "a")]));
      return false;
    };
    const ended = { calls: 0 };
    const follow = {
      hasEnded: async () => {
        ended.calls += 1;
        return ended.calls === 1 ? hasEnded() : true;
      },
    };
    assert.deepEqual(await read(path, { follow }), ["a"]);
  });

  test("rejects files that a container may have put at the path of a log", async () => {
    const secret = logFile(line(1, "secret"));
    const link = (path: string): void => symlinkSync(secret, path);
    for (const [make, words] of [
      [link, /read log .*: it is a symbolic link, not a file/],
      [makeFifo, /read log .*: it is a named pipe, not a file/],
    ] as const) {
      made += 1;
      const path = join(directory, `${made}.log`);
      make(path);
      for (const follow of [undefined, { hasEnded: async () => false }]) {
        const reading = read(path, follow === undefined ? {} : { follow });
        await assert.rejects(reading, (error) => {
          return isKind(error, "failed-precondition") && words.test(String(error));
        });
      }
      // The same after a rotation.
      const rotated = logFile(line(1, "a"));
      const hasEnded = async (): Promise<boolean> => {
        renameSync(rotated, `${rotated}.old`);
        make(rotated);
        return false;
      };
      await assert.rejects(read(rotated, { follow: { hasEnded } }), words);
    }
  });

  test("ends when the signal is aborted", async () => {
    const abort = new AbortController();
    const hasEnded = (): Promise<boolean> => {
      abort.abort();
      return Promise.resolve(false);
    };
    const options = { follow: { hasEnded }, signal: abort.signal };
    assert.deepEqual(await read(logFile(line(1, "a")), options), ["a"]);
  });
});

test("LogPrinter joins partial lines, separates streams and prefixes lines", () => {
  const terminal = recordedTerminal();
  const printer = new LogPrinter(terminal, ({ time }) => `[${time}] `);
  const lines = ["1 stdout P ab", "2 stderr F err", "3 stdout P cd", "4 stdout F e", "5 stdout F "];
  for (const batch of [lines.slice(0, 3), lines.slice(3)]) {
    printer.print(batch.flatMap((each) => parseLogLine(Buffer.from(each)) ?? []));
  }
  assert.deepEqual(terminal.written, { out: "[1] abcde\n[5] \n", err: "[2] err\n" });
});

test("parseLogLine() keeps invalid UTF-8, and rejects malformed lines", () => {
  const bytes = Buffer.concat([Buffer.from("t stdout F:x "), Buffer.from([0xff, 0x20, 0])]);
  assert.deepEqual(parseLogLine(bytes)?.text, Buffer.from([0xff, 0x20, 0]));
  for (const bad of ["", "t", "t stdout", "t stdin F x", "t stdout X x", " stdout F x", "{}"]) {
    assert.equal(parseLogLine(Buffer.from(bad)), undefined, bad);
  }
  assert.equal(parseLogLine(Buffer.from("t stdout F"))?.text.length, 0);
});

test("LineSplitter joins lines across chunks", () => {
  const splitter = new LineSplitter();
  const lines = ["a", "b\nc", "\n\nd", "\n"].flatMap((chunk) =>
    [...splitter.push(Buffer.from(chunk))].map(String),
  );
  assert.deepEqual(lines, ["ab", "c", "", "d"]);
});
