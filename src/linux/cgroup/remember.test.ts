import assert from "node:assert/strict";
import { test } from "node:test";
import { textsToRestore } from "./remember.ts";

test("textsToRestore() is the old value of the file if it differs", () => {
  assert.deepEqual(textsToRestore("memory.high", "max", "5"), ["max"]);
  assert.deepEqual(textsToRestore("memory.high", "max", "max"), []);
  assert.deepEqual(textsToRestore("cpuset.cpus", "", "0"), [""]);
});

test("textsToRestore() writes device files one line at a time, and removes new limits", () => {
  const before =
    "8:0 rbps=1 wbps=max riops=max wiops=max\n8:16 rbps=2 wbps=max riops=max wiops=max";
  const now = "8:0 rbps=9 wbps=max riops=max wiops=max\n8:32 rbps=3 wbps=max riops=max wiops=max";
  assert.deepEqual(textsToRestore("io.max", before, now), [
    "8:32 rbps=max wbps=max riops=max wiops=max",
    "8:0 rbps=1 wbps=max riops=max wiops=max",
    "8:16 rbps=2 wbps=max riops=max wiops=max",
  ]);
  assert.deepEqual(textsToRestore("io.max", "", "8:0 rbps=9 wbps=max riops=max wiops=max"), [
    "8:0 rbps=max wbps=max riops=max wiops=max",
  ]);
  assert.deepEqual(textsToRestore("io.weight", "default 100", "default 50\n8:0 7"), [
    "8:0 default",
    "default 100",
  ]);
});
