import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { isKind } from "../../base/errors.ts";
import { FileOutputs } from "./outputs.ts";

const outputs = new FileOutputs();

function directoryOf(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "davit-outputs-"));
  t.after(() => {
    rmSync(directory, { recursive: true });
  });
  return directory;
}

test("a new file needs an existing directory, and a name that is free", async (t) => {
  const directory = directoryOf(t);
  const at = (name: string): string => join(directory, name);
  writeFileSync(at("file"), "");
  symlinkSync(at("nowhere"), at("link"));
  await outputs.checkNewFile(at("new"));
  for (const name of ["file", "link"]) {
    await assert.rejects(outputs.checkNewFile(at(name)), (error) =>
      isKind(error, "already-exists"),
    );
  }
  for (const name of ["none/new", "file/new"]) {
    const invalid = (error: unknown): boolean => isKind(error, "invalid-argument");
    await assert.rejects(outputs.checkNewFile(at(name)), invalid);
  }
  assert.deepEqual(readdirSync(directory).toSorted(), ["file", "link"]);
});

test("of two checkpoints at once, one gets the directory", async (t) => {
  const directory = directoryOf(t);
  const claims = [1, 2, 3].map(() => outputs.claimEmptyDirectory(directory));
  const results = await Promise.allSettled(claims);
  const failed = results.filter((each) => each.status === "rejected");
  assert.equal(failed.length, 2);
  for (const { reason } of failed) assert.ok(isKind(reason, "invalid-argument"), String(reason));
  assert.deepEqual(readdirSync(directory), ["containers"]);
  await outputs.clear(directory);
  await outputs.claimEmptyDirectory(directory);
});

test("a directory must be empty, and no link", async (t) => {
  const directory = directoryOf(t);
  const at = (name: string): string => join(directory, name);
  mkdirSync(at("empty"));
  mkdirSync(at("full/x"), { recursive: true });
  symlinkSync(at("empty"), at("link"));
  writeFileSync(at("file"), "");
  await outputs.checkEmptyDirectory(at("empty"));
  for (const name of ["full", "link", "file", "none"]) {
    await assert.rejects(outputs.checkEmptyDirectory(at(name)), (error) =>
      isKind(error, "invalid-argument"),
    );
  }
});

test("clearing a directory keeps it, and what links in it lead to", async (t) => {
  const directory = directoryOf(t);
  const at = (name: string): string => join(directory, name);
  mkdirSync(at("out/containers/app/checkpoint"), { recursive: true });
  writeFileSync(at("out/containers/app/checkpoint/core-1.img"), "x");
  mkdirSync(at("other"));
  writeFileSync(at("other/kept"), "x");
  symlinkSync(at("other"), at("out/link"));
  await outputs.clear(at("out"));
  assert.deepEqual(readdirSync(at("out")), []);
  assert.ok(existsSync(at("other/kept")));
  await outputs.clear(at("out"));
  await outputs.clear(at("none"));
  await outputs.removeFile(at("other/kept"));
  await outputs.removeFile(at("other/kept"));
  assert.deepEqual(readdirSync(at("other")), []);
});
