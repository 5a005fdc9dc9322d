import assert from "node:assert/strict";
import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../../base/errors.ts";
import { makeFifo } from "../stream/index.ts";
import { LogLines, parseLogLine } from "./log-line.ts";
import { readLog, type ReadLogOptions } from "./read-log.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-log-"));
after(() => rmSync(directory, { recursive: true }));

let made = 0;
function newPath(): string {
  made += 1;
  return join(directory, `${made}.log`);
}

function logFile(...lines: string[]): string {
  const path = newPath();
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

/** Reads a log. `steps` are done one after the other, each when the reader has read everything before it. */
async function read(
  path: string,
  options: Partial<ReadLogOptions> = {},
  steps: (() => void)[] = [],
): Promise<string[]> {
  const found: string[] = [];
  for await (const lines of readLog(path, { signal: never, ...options })) {
    found.push(...lines.map((each) => `${each.text.toString()}${each.partial ? "+" : ""}`));
    steps.shift()?.();
  }
  return found;
}

/** Options to follow a log, and what ends it. */
function following(): {
  readonly options: Partial<ReadLogOptions>;
  readonly end: () => void;
} {
  const ended = new AbortController();
  return { options: { follow: { ended: ended.signal } }, end: () => ended.abort() };
}

const second = 1_000_000_000n;

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

  test("finds the tail wherever lines meet the ends of the chunks that it reads", async () => {
    // Chunks of 64 KiB, counted from the end of the file.
    for (const length of [65_534, 65_535, 65_536, 65_537, 131_071, 131_072]) {
      const head = line(3, "").length;
      const last = line(3, "x".repeat(length - head - 1));
      const path = logFile(line(1, "a"), line(2, "b", "stdout", "P"), last);
      for (const [tail, from] of [
        [0, 3],
        [1, 1],
        [2, 0],
      ] as const) {
        const all = ["a", "b+", "x".repeat(length - head - 1)];
        assert.deepEqual(await read(path, { tail }), all.slice(from), `${length}, ${tail}`);
      }
    }
    const many = Array.from({ length: 5_000 }, (_, n) => `${n}`);
    const path = logFile(...many.map((words, n) => line(n, words)));
    for (const tail of [1, 999, 1_000, 4_999, 5_000, 5_001]) {
      assert.deepEqual(await read(path, { tail }), many.slice(-tail), `${tail}`);
    }
  });

  test("returns lines of a time", async () => {
    const path = logFile(line(1, "a"), line(2, "b"), "no form", line(3, "c"));
    assert.deepEqual(await read(path, { sinceNs: 2n * second }), ["b", "no form", "c"]);
    assert.deepEqual(await read(path, { sinceNs: 2n * second + 1n }), ["no form", "c"]);
    assert.deepEqual(await read(path, { untilNs: 2n * second }), ["a", "no form"]);
    const middle = { sinceNs: 2n * second, untilNs: 3n * second };
    assert.deepEqual(await read(path, middle), ["b", "no form"]);
  });

  test("ends where the file ended at the beginning, and a line that is not complete is not read", async () => {
    const path = logFile(line(1, "a"));
    appendFileSync(path, line(2, "not complete"));
    const grow = (): void => appendFileSync(path, text([" now", line(3, "later")]));
    assert.deepEqual(await read(path, {}, [grow]), ["a"]);
    assert.deepEqual(await read(path, { tail: 0 }), []);
    assert.deepEqual(await read(path), ["a", "not complete now", "later"]);
  });

  test("follows a file through a rotation and a truncation until the container has exited", async () => {
    const path = logFile(line(1, "a"));
    const { options, end } = following();
    const steps: (() => void)[] = [
      () => undefined, // the log is followed
      () => appendFileSync(path, text([line(2, "b")])),
      () => {
        // As in kubelet: the file is renamed, written to its end, and a new one is created.
        renameSync(path, `${path}.old`);
        appendFileSync(`${path}.old`, text([line(3, "c")]));
        writeFileSync(path, text([line(4, "d")]));
      },
      () => undefined,
      () => {
        truncateSync(path);
        appendFileSync(path, text([line(5, "")]));
      },
      () => {
        appendFileSync(path, text([line(6, "written before the end")]));
        end();
      },
    ];
    assert.deepEqual(await read(path, options, steps), [
      ...["a", "b", "c", "d", ""],
      "written before the end",
    ]);
  });

  test("says that it follows before it waits, from the position that was asked for", async () => {
    const path = logFile(line(1, "before"));
    const { options, end } = following();
    const steps = [() => appendFileSync(path, text([line(2, "after")])), end];
    assert.deepEqual(await read(path, { ...options, tail: 0 }, steps), ["after"]);
  });

  test("waits until the file exists only if it follows, and has then all of it", async () => {
    const path = newPath();
    await assert.rejects(read(path), { kind: "not-found" });
    const ended = following();
    ended.end();
    assert.deepEqual(await read(path, ended.options), []);
    const { options, end } = following();
    const make = (): void => writeFileSync(path, text([line(1, "a")]));
    assert.deepEqual(await read(path, { ...options, tail: 0 }, [make, end]), ["a"]);
  });

  test("ends a followed log at its time", async () => {
    const path = logFile(line(1, "a"));
    const { options } = following();
    assert.deepEqual(await read(path, { ...options, untilNs: 2n * second }), ["a"]);
  });

  test("rejects files that a container may have put at the path of a log", async () => {
    const secret = logFile(line(1, "secret"));
    const link = (path: string): void => symlinkSync(secret, path);
    for (const [make, words] of [
      [link, /read log .*: it is a symbolic link, not a file/],
      [makeFifo, /read log .*: it is a named pipe, not a file/],
    ] as const) {
      const path = newPath();
      make(path);
      for (const options of [{}, following().options]) {
        await assert.rejects(read(path, options), (error) => {
          return isKind(error, "failed-precondition") && words.test(String(error));
        });
      }
      // The same after a rotation.
      const rotated = logFile(line(1, "a"));
      const replace = (): void => {
        renameSync(rotated, `${rotated}.old`);
        make(rotated);
      };
      await assert.rejects(read(rotated, following().options, [replace]), words);
    }
  });

  test("does not watch a log whose reader is behind, and loses nothing of it", {
    timeout: 20_000,
  }, async () => {
    const watches = (): number =>
      process.getActiveResourcesInfo().filter((each) => each === "FSEventWrap").length;
    const until = async (count: number): Promise<void> => {
      while (watches() !== count) await sleep(5);
    };
    const path = logFile(line(1, "a"));
    const { options, end } = following();
    const batches = readLog(path, { signal: never, ...options });
    const next = async (): Promise<string[]> => {
      for (;;) {
        const batch = await batches.next();
        if (batch.done === true) return [];
        if (batch.value.length > 0) return batch.value.map((each) => each.text.toString());
      }
    };
    assert.deepEqual(await next(), ["a"]);
    const waiting = next();
    await until(1);
    appendFileSync(path, text([line(2, "b")]));
    assert.deepEqual(await waiting, ["b"]);
    appendFileSync(path, text([line(3, "c")]));
    await sleep(50);
    appendFileSync(path, text([line(4, "d")]));
    await until(0);
    assert.deepEqual(await next(), ["c", "d"]);
    const last = next();
    await until(1);
    appendFileSync(path, text([line(5, "e")]));
    assert.deepEqual(await last, ["e"]);
    end();
    assert.deepEqual(await next(), []);
    assert.equal(watches(), 0);
  });

  test("ends when the signal is aborted", async () => {
    const abort = new AbortController();
    const options = { ...following().options, signal: abort.signal };
    const steps = [() => undefined, () => abort.abort()];
    assert.deepEqual(await read(logFile(line(1, "a")), options, steps), ["a"]);
  });

  test("holds a line without an end only in parts", async () => {
    const path = newPath();
    const fd = openSync(path, "w");
    const mib = Buffer.alloc(1024 * 1024, "x");
    writeSync(fd, line(1, "", "stderr"));
    for (let n = 0; n < 64; n += 1) writeSync(fd, mib);
    writeSync(fd, text(["end", line(2, "b")]));
    closeSync(fd);
    let bytes = 0;
    let largest = 0;
    const ends: string[] = [];
    for await (const lines of readLog(path, { signal: never })) {
      largest = Math.max(largest, ...lines.map((each) => each.text.length));
      for (const each of lines) {
        bytes += each.text.length;
        assert.equal(each.stream, bytes < 64 * mib.length + 4 ? "stderr" : "stdout");
        if (!each.partial) ends.push(each.text.toString().slice(-4));
      }
    }
    assert.equal(bytes, 64 * mib.length + "end".length + "b".length);
    assert.ok(largest <= 320 * 1024, `${largest}`);
    assert.deepEqual(ends, ["xend", "b"]);
    assert.deepEqual(await read(path, { tail: 1 }), ["b"]);
  });
});

test("parseLogLine() keeps invalid UTF-8 and NUL, and rejects malformed lines", () => {
  const bytes = Buffer.concat([Buffer.from("t stdout F:x "), Buffer.from([0xff, 0x20, 0])]);
  assert.deepEqual(parseLogLine(bytes)?.text, Buffer.from([0xff, 0x20, 0]));
  const bad = ["", "t", "t stdout", "t stdin F x", "t stdout X x", "t stdout FF x", " stdout F x"];
  for (const each of [...bad, "{}", `${"t".repeat(65)} stdout F x`]) {
    assert.equal(parseLogLine(Buffer.from(each)), undefined, each);
  }
  assert.equal(parseLogLine(Buffer.from("t stdout F"))?.text.length, 0);
});

test("LogLines joins lines across chunks, and cuts those beyond its limit", () => {
  const lines = new LogLines(8);
  const split = (chunk: string): string[] =>
    lines
      .push(Buffer.from(chunk))
      .map((each) => `${each.text.toString()}${each.partial ? "+" : ""}`);
  assert.deepEqual(["a", "b\nc", "\n\nd", "\n"].flatMap(split), ["ab", "c", "", "d"]);
  assert.deepEqual(split("123456789"), ["123456789+"]);
  assert.deepEqual(split("0"), []);
  assert.deepEqual(split("x\ny\n"), ["0x", "y"]);
  split("12345");
  lines.reset();
  assert.deepEqual(split("z\n"), ["z"]);
});
