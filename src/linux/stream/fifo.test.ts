import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";

import { kindOf } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { makeFifo, openFifoReader, openFifoWriter } from "./fifo.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-fifo-"));
after(() => rmSync(directory, { recursive: true }));
let count = 0;
function fifo(): string {
  const path = join(directory, String(count++));
  makeFifo(path);
  return path;
}

describe("openFifoReader()", () => {
  test("does not end while writers change, and ends after letEnd() with the last one", async () => {
    const path = fifo();
    const reader = openFifoReader(path);
    const chunks: string[] = [];
    const ended = (async () => {
      for await (const chunk of reader.stream) chunks.push(String(chunk));
    })();
    for (const word of ["one ", "two "]) {
      const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      writeSync(writer, word);
      closeSync(writer);
    }
    const last = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    reader.letEnd();
    reader.letEnd();
    writeSync(last, "three");
    closeSync(last);
    await ended;
    assert.equal(chunks.join(""), "one two three");
    reader.close();
  });

  test("ends at close(), even with a writer", async () => {
    const path = fifo();
    const reader = openFifoReader(path);
    const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    reader.close();
    await new Promise((resolve) => reader.stream.once("close", resolve));
    assert.throws(() => writeSync(writer, "x"), /EPIPE/);
    closeSync(writer);
  });

  test("makeFifo() reports an existing file, openFifoReader() a missing one", () => {
    const path = fifo();
    assert.throws(
      () => makeFifo(path),
      (error) => kindOf(error) === "already-exists",
    );
    assert.throws(
      () => openFifoReader(join(directory, "none")),
      (error) => kindOf(error) === "not-found",
    );
  });
});

describe("openFifoWriter()", () => {
  /** Reads a FIFO to its end as another process does, whose open waits for a writer. */
  const readByAnother = (path: string): Promise<string> =>
    new Promise((resolve) => {
      execFile("cat", [path], (_error, text) => {
        resolve(text);
      });
    });

  test("keeps written data until it is read, also after the end of the stream", async () => {
    const path = fifo();
    const writer = openFifoWriter(path);
    writer.stream.end("typed");
    await new Promise((resolve) => writer.stream.once("close", resolve));
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    await writer.letEnd();
    assert.equal(readFileSync(reader, "utf8"), "typed");
    closeSync(reader);
    writer.close();
  });

  test("ends only for a reader: one that comes after letEnd() gets all and the end", async () => {
    const path = fifo();
    const writer = openFifoWriter(path);
    writer.stream.end("typed");
    const ended = writer.letEnd();
    await setTimeout(20);
    const [text] = await Promise.all([readByAnother(path), ended, writer.letEnd()]);
    assert.equal(text, "typed");
    writer.close();
  });

  test("close() ends the wait for a reader", async () => {
    const path = fifo();
    const writer = openFifoWriter(path);
    writer.stream.end("typed");
    const ended = writer.letEnd();
    await setTimeout(20);
    writer.close();
    await ended;
    writer.close();
    assert.throws(
      () => openSync(path, constants.O_WRONLY | constants.O_NONBLOCK),
      (error) => errnoCode(error) === "ENXIO",
    );
  });
});
