import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { exitCode } from "../command-line/exit-code.ts";
import { checkArchiveOutput, nameArchive, writeArchive } from "./archive-output.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-archive-output-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

async function* chunks(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text));
}

test("writeArchive() gives a complete file its name and permissions", async () => {
  const path = join(directory, "web.tar");
  await writeArchive(path, chunks("a", "b"), { mode: 0o600, isOnlyCopy: true });
  assert.equal(readFileSync(path, "utf8"), "ab");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(directory), ["web.tar"]);
});

test("writeArchive() leaves nothing of an archive that fails", async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield* chunks("a");
    throw new Error("the server has gone");
  }
  const path = join(directory, "web.tar");
  await assert.rejects(writeArchive(path, failing(), { mode: 0o600 }), /the server has gone/);
  assert.deepEqual(readdirSync(directory), []);
});

test("checkArchiveOutput() names what is wrong with the path, before anything is captured", async () => {
  await checkArchiveOutput(join(directory, "web.tar"));
  await assert.rejects(checkArchiveOutput(directory), {
    exitCode: exitCode.usage,
    message: `write "${directory}": it is a directory; name a file in it`,
  });
  const path = join(directory, "nowhere/web.tar");
  await assert.rejects(checkArchiveOutput(path), {
    message: `write "${path}": no such file or directory (ENOENT)`,
  });
  assert.deepEqual(readdirSync(directory), []);
});

test("nameArchive() says what could not be written", async () => {
  const path = join(directory, "web.tar");
  mkdirSync(path);
  await writeArchive(join(directory, "part"), chunks("a"), { mode: 0o600 });
  await assert.rejects(nameArchive(join(directory, "part"), path), /^\S+: write "\S+web\.tar": /);
});
