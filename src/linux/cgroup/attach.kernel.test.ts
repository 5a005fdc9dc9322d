import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { test } from "node:test";

import { until } from "../testing/leaks.ts";
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

const hierarchies = (): string => readFileSync("/proc/self/cgroup", "utf8");
const mounts = (): string => readFileSync("/proc/self/mountinfo", "utf8");

test("speedUpCgroupMigration() leaves no hierarchy and no mount", { skip }, async () => {
  const before = { hierarchies: hierarchies(), mounts: mounts() };
  assert.equal(await speedUpCgroupMigration(layout), true);
  assert.equal(mounts(), before.mounts);
  // The kernel frees the hierarchy a moment later.
  await until("the hierarchy is gone", () => hierarchies() === before.hierarchies);
  // A second daemon, or the next one.
  assert.equal(await speedUpCgroupMigration(layout), true);
  await until("the hierarchy is gone", () => hierarchies() === before.hierarchies);
});
