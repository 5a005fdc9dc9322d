import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import { readExitNote, writeExitNote } from "./exit-note.ts";

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
const read = () => readExitNote(path, silentLogger);

test("an exit note is read by another daemon, to the nanosecond", async () => {
  await writeExitNote(path, exit, silentLogger);
  assert.deepEqual(await read(), exit);
});

test("an unknown exit is not written", async () => {
  await writeExitNote(path, { ...exit, unknown: true }, silentLogger);
  assert.equal(await read(), undefined);
});

test("an incomplete note, or another file, is ignored", async () => {
  await writeExitNote(path, exit, silentLogger);
  const whole = readFileSync(path, "utf8");
  for (const text of [
    "",
    whole.slice(0, 20),
    '{"exitCode":"1"}',
    "[]",
    '{"exitCode":1,"finishedAtNs":""}',
  ]) {
    writeFileSync(path, text);
    assert.equal(await read(), undefined, text);
  }
});

test("a missing bundle is not an error", async () => {
  await writeExitNote(join(directory, "gone", "exit.json"), exit, silentLogger);
  assert.equal(await readExitNote(join(directory, "gone", "exit.json"), silentLogger), undefined);
});
