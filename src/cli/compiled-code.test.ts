import assert from "node:assert/strict";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { readProgram } from "./compiled-code.ts";

const text = "/*0123456789abcdef*/function twice(n) { return n * 2 } take(twice(21));";
let directory = "";
let file = "";
let kept = "";

before(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-compiled-"));
});
after(() => rmSync(directory, { recursive: true }));
beforeEach(() => {
  file = join(directory, "program.cjs");
  kept = join(directory, "kept");
  rmSync(kept, { recursive: true, force: true });
  writeFileSync(file, text);
});

/** Runs the program and saves its code if it can be saved. Returns whether it was saved. */
async function start(): Promise<boolean> {
  const program = readProgram(file, ["take"], kept);
  let taken: unknown;
  (program.run() as (take: (value: unknown) => void) => void)((value) => {
    taken = value;
  });
  assert.equal(taken, 42);
  await program.save?.();
  return program.save !== undefined;
}

test("a second start uses the code of the first", async () => {
  assert.equal(await start(), true);
  assert.deepEqual(readdirSync(kept), ["serve-0123456789abcdef"]);
  assert.equal(statSync(join(kept, "serve-0123456789abcdef")).mode & 0o777, 0o600);
  assert.equal(await start(), false);
});

test("discarded code is compiled again, and discarding twice is not an error", async () => {
  await start();
  const program = readProgram(file, ["take"], kept);
  await program.discard();
  await program.discard();
  assert.deepEqual(readdirSync(kept), []);
  assert.equal(await start(), true);
});

test("damaged code is not used and is replaced", async () => {
  await start();
  const path = join(kept, "serve-0123456789abcdef");
  const good = readFileSync(path);
  const flipped = Buffer.from(good);
  flipped[good.length - 9] = ~(flipped[good.length - 9] ?? 0);
  const damaged = [flipped, good.subarray(0, 200), Buffer.alloc(0), Buffer.alloc(good.length)];
  for (const bytes of damaged) {
    writeFileSync(path, bytes);
    assert.equal(await start(), true);
    assert.equal(await start(), false);
  }
});

test("code that other users can write is not used", async () => {
  await start();
  const path = join(kept, "serve-0123456789abcdef");
  for (const mode of [0o620, 0o602]) {
    chmodSync(path, mode);
    assert.equal(await start(), true);
  }
  assert.equal(await start(), false);
  const other = join(directory, "other-code");
  renameSync(path, other);
  symlinkSync(other, path);
  assert.equal(await start(), true);
});

test("the code of another program is not used, and the next save removes it", async () => {
  await start();
  writeFileSync(join(kept, "serve-0123456789abcdef.77"), "left by a daemon that was killed");
  writeFileSync(join(kept, "other"), "");
  writeFileSync(file, text.replace("0123456789abcdef", "fedcba9876543210"));
  assert.equal(await start(), true);
  assert.deepEqual(readdirSync(kept).sort(), ["other", "serve-fedcba9876543210"]);
});

test("a program without an id, or without a cache directory, runs", async () => {
  assert.equal(readProgram(file, ["take"], undefined).save, undefined);
  writeFileSync(file, text.slice(20));
  assert.equal(await start(), false);
});

test("save() rejects if the directory cannot be created, and the program still runs", async () => {
  writeFileSync(kept, "a file");
  await assert.rejects(start(), /EEXIST|ENOTDIR/);
});
