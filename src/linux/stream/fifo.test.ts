import assert from "node:assert/strict";
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

import { kindOf } from "../../base/errors.ts";
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
  test("keeps written data until it is read, also after the end of the stream", async () => {
    const path = fifo();
    const writer = openFifoWriter(path);
    writer.stream.end("typed");
    await new Promise((resolve) => writer.stream.once("close", resolve));
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    writer.letEnd();
    assert.equal(readFileSync(reader, "utf8"), "typed");
    closeSync(reader);
    writer.close();
  });
});
