import assert from "node:assert/strict";
import { test } from "node:test";
import { onFirstCpu } from "./exec-affinity.ts";
import { containerProcess } from "./process.ts";
import { specInput } from "./testing/spec-input.ts";

test("onFirstCpu() takes the lowest CPU of the cpuset, and changes nothing without one", () => {
  const process = containerProcess(specInput());
  const initial = (cpusetCpus: string): string | undefined =>
    onFirstCpu(process, { cpusetCpus }).execCPUAffinity?.initial;
  assert.deepEqual(["0-3", "4-7,2", "10,9", "5"].map(initial), ["0", "2", "9", "5"]);
  assert.equal(initial(""), undefined);
  assert.equal(onFirstCpu(process, undefined), process);
});
