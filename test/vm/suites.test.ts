/** Every kernel, integration and attack test is assigned to a run in virtual machines: suites.ts. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { divide } from "./division.ts";
import { withTable } from "./report.ts";
import { readVerdicts, resultsIn, type Verdicts } from "./results.ts";
import {
  allFiles,
  changedByV2,
  filesByDefault,
  isOneOf,
  needsQemu,
  remarks,
  waiting,
} from "./suites.ts";

const verdicts = readVerdicts();

test("each file runs always, or has a result on cgroup v2, or is known to wait for one", () => {
  const forgotten = allFiles().filter(
    (file) => !isOneOf([...changedByV2, ...waiting], file) && verdicts[file] === undefined,
  );
  const advice = "add these files to changedByV2 or waiting of test/vm/suites.ts";
  assert.deepEqual(forgotten, [], advice);
});

test("each part of a name and each remark is of a file that exists", () => {
  const files = allFiles();
  const parts = [...changedByV2, ...needsQemu, ...waiting];
  const unknown = parts.filter((part) => !files.some((file) => file.includes(part)));
  assert.deepEqual(unknown, []);
  assert.deepEqual(
    Object.keys(remarks).filter((name) => verdicts[name] === undefined),
    [],
  );
});

test("no file is in verdicts.json that does not exist", () => {
  const files = new Set(allFiles());
  const gone = Object.keys(verdicts).filter(
    (name) => !name.startsWith("test/vm/") && !files.has(name.replace(/ \(\w+\)$/, "")),
  );
  assert.deepEqual(gone, []);
});

test("the table of docs/vm-results.md is that of verdicts.json", () => {
  const page = path.resolve(import.meta.dirname, "../../docs/vm-results.md");
  const text = readFileSync(page, "utf8");
  assert.equal(text, withTable(text, verdicts), "run: node test/vm/report.ts");
});

test("what has no result yet runs by default", () => {
  const files = filesByDefault({});
  assert.deepEqual(files, allFiles());
});

test("reads the results from the output of a job", () => {
  const output = [
    "davit-vm: up for 3.0 s",
    "ok      test/integration/cli.test.ts  12 passed, 2 skipped  31.5 s",
    "        skipped a: b",
    "FAILED  src/a/b.kernel.test.ts (shim)  1 passed, 1 failed  2.0 s",
    "        failed: ok      test/not.ts  1 passed  2 s",
    "FAILED  src/a/b.kernel.test.ts (shim)  2.5 s: left something behind",
    "FAILED  test/integration/hangs.test.ts  300.1 s: killed after 300 s; still running: no test",
    "ok      test/vm/guest/systemd.vm.ts  4 passed  1.0 s",
  ].join("\n");
  assert.deepEqual(Object.fromEntries(resultsIn(output)), {
    "test/integration/cli.test.ts": { passed: 12, failed: 0, skipped: 2, seconds: 31.5 },
    "src/a/b.kernel.test.ts (shim)": { passed: 1, failed: 2, skipped: 0, seconds: 2.5 },
    "test/integration/hangs.test.ts": { passed: 0, failed: 1, skipped: 0, seconds: 300.1 },
    "test/vm/guest/systemd.vm.ts": { passed: 4, failed: 0, skipped: 0, seconds: 1 },
  });
});

test("guests get about the same time, and variants count for their file", () => {
  const took = (seconds: number): Verdicts[string] => {
    const counts = { passed: 1, failed: 0, skipped: 0 };
    return { cgroupfs: { ...counts, seconds, date: "2026-12-01", kernel: "user-mode" } };
  };
  const known = { a: took(50), "a (shim)": took(60), b: took(70), c: took(45), d: took(1) };
  assert.deepEqual(divide(["a", "b", "c", "d"], 2, known), [
    ["a", "d"],
    ["b", "c"],
  ]);
  assert.deepEqual(divide(["b"], 2, known), [["b"]]);
});
