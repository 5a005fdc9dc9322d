import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import { notedExit, noteExit } from "./exit-note.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-exit-"));
const path = join(directory, "exit.json");
after(() => rmSync(directory, { recursive: true }));
beforeEach(() => rmSync(path, { force: true }));

const exit = {
  exitCode: 137,
  finishedAtNs: 1_700_000_000_123_456_789n,
  oomKilled: true,
  unknown: false,
};
const noted = () => notedExit(path, silentLogger);

test("what one daemon noted another one reads, to the nanosecond", async () => {
  await noteExit(path, exit, silentLogger);
  assert.deepEqual(await noted(), exit);
});

test("an exit that nobody knows is not noted", async () => {
  await noteExit(path, { ...exit, unknown: true }, silentLogger);
  assert.equal(await noted(), undefined);
});

test("half a note is none, and neither is another file", async () => {
  await noteExit(path, exit, silentLogger);
  const whole = readFileSync(path, "utf8");
  for (const text of [
    "",
    whole.slice(0, 20),
    '{"exitCode":"1"}',
    "[]",
    '{"exitCode":1,"finishedAtNs":""}',
  ]) {
    writeFileSync(path, text);
    assert.equal(await noted(), undefined, text);
  }
});

test("a bundle that is gone is no error", async () => {
  await noteExit(join(directory, "gone", "exit.json"), exit, silentLogger);
  assert.equal(await notedExit(join(directory, "gone", "exit.json"), silentLogger), undefined);
});
