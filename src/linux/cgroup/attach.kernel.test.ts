import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { test } from "node:test";

import { speedUpCgroupMigration } from "./attach.ts";
import { detectCgroups } from "./layout.ts";

const layout = detectCgroups();
const [major = 0, minor = 0] = release()
  .split(".")
  .map((part) => Number.parseInt(part, 10));
const skip =
  layout.version === "v2"
    ? "this host has cgroup v2"
    : (major < 6 || (major === 6 && minor < 18)) && "this kernel is older than 6.18";

const state = (): string =>
  readFileSync("/proc/self/cgroup", "utf8") + readFileSync("/proc/self/mountinfo", "utf8");

test("speedUpCgroupMigration() leaves hierarchies, mounts and their options as they are", {
  skip,
}, async () => {
  const before = state();
  assert.equal(await speedUpCgroupMigration(layout), true);
  assert.equal(state(), before);
  // A second daemon, or the next one.
  assert.equal(await speedUpCgroupMigration(layout), true);
  assert.equal(state(), before);
});
