import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { makeFifo } from "../linux/stream/index.ts";
import { until } from "../linux/testing/leaks.ts";
import { BlobInput, JobInput } from "./blob-input.ts";
import { Random } from "./testing/random.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-blob-"));
after(() => rmSync(directory, { recursive: true }));

/** What is read from a descriptor of `blob`, copied while each chunk is valid. */
async function readThrough(blob: Buffer, fd: number): Promise<void> {
  const jobs = new JobInput(fd);
  assert.equal(await jobs.line(), "a job");
  const input = new BlobInput(jobs, blob.length);
  const head = Buffer.from(await input.head());
  assert.ok(head.length >= Math.min(4, blob.length));
  assert.ok(head.equals(blob.subarray(0, head.length)));
  const pieces: Buffer[] = [];
  await input.forEach(async (bytes) => {
    // The next chunk is read meanwhile. It must not overwrite this one.
    await new Promise((resolve) => setImmediate(resolve));
    pieces.push(Buffer.from(bytes));
  });
  assert.ok(Buffer.concat(pieces).equals(blob));
  assert.ok(input.ended);
  assert.equal(await jobs.line(), undefined);
  assert.equal(input.hash.digest(), createHash("sha256").update(blob).digest("hex"));
}

for (const length of [0, 1, 3, 4, 1_048_576, 1_048_577, 5_000_000]) {
  test(`reads a file of ${length} bytes to its end`, async () => {
    const blob = new Random(length + 1).bytes(length);
    const file = join(directory, `blob-${length}`);
    writeFileSync(file, Buffer.concat([Buffer.from("a job\n"), blob]));
    const fd = openSync(file, "r");
    try {
      await readThrough(blob, fd);
    } finally {
      closeSync(fd);
    }
  });
}

test("a failing reader ends the read", async () => {
  const file = join(directory, "blob");
  writeFileSync(file, Buffer.alloc(1_000_000));
  const fd = openSync(file, "r");
  try {
    const input = new BlobInput(new JobInput(fd), 1_000_000);
    await input.head();
    await assert.rejects(
      input.forEach(() => Promise.reject(new Error("no more"))),
      /no more/,
    );
    assert.ok(!input.ended);
  } finally {
    closeSync(fd);
  }
});

test("reads all bytes in order when they come in small pieces", async () => {
  const path = join(directory, "pipe");
  makeFifo(path);
  // It does not block, as without a reader there is none yet.
  const write = openSync(path, constants.O_RDWR);
  const read = openSync(path, constants.O_RDONLY);
  try {
    const blob = new Random(1).bytes(100_000);
    const jobs = new JobInput(read);
    writeSync(write, "a job\n");
    assert.equal(await jobs.line(), "a job");
    const pieces: Buffer[] = [];
    const input = new BlobInput(jobs, blob.length);
    const reading = input.forEach((bytes) => {
      pieces.push(Buffer.from(bytes));
      return Promise.resolve();
    });
    for (let at = 0; at < blob.length; ) {
      at += writeSync(write, blob.subarray(at, at + 10_000));
      await until("they are passed on", () => Buffer.concat(pieces).length === at);
    }
    await reading;
    assert.ok(Buffer.concat(pieces).equals(blob));
    assert.equal(input.hash.digest(), createHash("sha256").update(blob).digest("hex"));
  } finally {
    closeSync(write);
    closeSync(read);
  }
});
