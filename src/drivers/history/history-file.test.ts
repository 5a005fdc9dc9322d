import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import type { PastOperation } from "../../core/operation/index.ts";
import { HistoryFile } from "./history-file.ts";

const base = mkdtempSync(join(tmpdir(), "davit-history-"));
after(() => rmSync(base, { recursive: true }));

const past = (subject: string): PastOperation => ({
  operation: "run-pod-sandbox",
  subject,
  startedMs: 1_000,
  tookMs: 32,
  stages: [
    { stage: "write-record", atMs: 0 },
    { stage: "network-plugin-done", atMs: 18, detail: "bridge" },
  ],
});
const failed: PastOperation = { ...past("bad"), error: "run pod sandbox: no room" };

const subjects = async (file: HistoryFile): Promise<readonly string[]> =>
  (await file.read()).map((entry) => entry.past.subject);

test("HistoryFile returns the operations of earlier daemons, readable for root only", async () => {
  const directory = join(base, "kept");
  {
    await using file = new HistoryFile({ directory, log: silentLogger });
    assert.deepEqual(await file.read(), []);
    file.add("a", past("a"));
    file.add("b", failed);
  }
  const path = join(directory, "operations.jsonl");
  // A daemon that was killed while it wrote.
  appendFileSync(path, '{"object":"c","oper');
  await using file = new HistoryFile({ directory, log: silentLogger });
  assert.deepEqual(await file.read(), [
    { object: "a", past: past("a") },
    { object: "b", past: failed },
  ]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test("HistoryFile does not join its first line to half a line", async () => {
  const directory = join(base, "half");
  {
    await using file = new HistoryFile({ directory, log: silentLogger });
    file.add("a", past("a"));
  }
  appendFileSync(join(directory, "operations.jsonl"), '{"object":"c","oper');
  {
    await using file = new HistoryFile({ directory, log: silentLogger });
    file.add("b", past("b"));
  }
  await using file = new HistoryFile({ directory, log: silentLogger });
  assert.deepEqual(await subjects(file), ["a", "b"]);
});

test("HistoryFile keeps two files of a limited size", async () => {
  const directory = join(base, "full");
  const line = 200;
  await using file = new HistoryFile({ directory, log: silentLogger, maxBytes: 4 * line });
  for (let turn = 0; turn < 40; turn++) {
    file.add("a", past(String(turn)));
    await file.flush();
  }
  const kept = await subjects(file);
  assert.equal(kept.at(-1), "39");
  assert.ok(kept.length >= 4 && kept.length <= 14, String(kept.length));
  assert.deepEqual(
    kept,
    [...kept].toSorted((a, b) => Number(a) - Number(b)),
  );
});

test("HistoryFile warns once when it cannot write, and continues afterwards", async () => {
  const directory = join(base, "file");
  writeFileSync(directory, "not a directory");
  const warnings: string[] = [];
  const log: Logger = { ...silentLogger, warn: (text) => void warnings.push(text) };
  await using file = new HistoryFile({ directory, log });
  for (const subject of ["a", "b"]) {
    file.add("x", past(subject));
    await file.flush();
  }
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /^write history ".*operations\.jsonl": .*(EEXIST|ENOTDIR)/);
  rmSync(directory);
  file.add("x", past("c"));
  await file.flush();
  assert.deepEqual(await subjects(file), ["c"]);
});

test("HistoryFile continues after its directory was removed", async () => {
  const directory = join(base, "removed");
  await using file = new HistoryFile({ directory, log: silentLogger });
  for (const subject of ["a", "b", "c"]) {
    if (subject === "b") rmSync(directory, { recursive: true });
    file.add("x", past(subject));
    await file.flush();
  }
  assert.deepEqual(await subjects(file), ["c"]);
});
