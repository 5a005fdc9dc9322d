import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  prewarmCgroupMigration,
  expectCgroupMigration,
  ownCgroupProcs,
  speedUpCgroupMigration,
} from "./attach.ts";
import { openFds } from "../testing/leaks.ts";
import { detectCgroups, type LegacyCgroups } from "./layout.ts";

const layout: LegacyCgroups = {
  version: "v1",
  hierarchies: [
    { path: "/cg/cpu", controllers: ["cpu", "cpuacct"] },
    { path: "/cg/systemd", controllers: ["name=systemd"] },
    { path: "/cg/unified", controllers: [] },
  ],
  ownedByV2: [],
  advice: undefined,
};

test("ownCgroupProcs() uses the first mounted hierarchy, and never the v2 tree", () => {
  const unified = "0::/user.slice\n";
  assert.equal(ownCgroupProcs(layout, unified), undefined);
  assert.equal(ownCgroupProcs(layout, `7:hugetlb:/\n${unified}`), undefined);
  assert.equal(
    ownCgroupProcs(layout, `7:hugetlb:/x\n3:cpu,cpuacct:/a:b/c\n${unified}`),
    "/cg/cpu/a:b/c/cgroup.procs",
  );
  assert.equal(ownCgroupProcs(layout, "1:name=systemd:/\n"), "/cg/systemd/cgroup.procs");
  assert.equal(ownCgroupProcs(layout, ""), undefined);
});

test("prewarmCgroupMigration() does not move this process, also without a file to write", async () => {
  const before = readFileSync("/proc/self/cgroup", "utf8");
  await Promise.all([prewarmCgroupMigration(detectCgroups()), prewarmCgroupMigration(layout)]);
  await prewarmCgroupMigration(layout);
  assert.equal(readFileSync("/proc/self/cgroup", "utf8"), before);
  const kept = [...openFds().values()].filter((file) => file.endsWith("/cgroup.procs"));
  assert.deepEqual(kept, []);
});

test("expectCgroupMigration() prewarms until the migration is over, and does not move this process", async () => {
  const before = readFileSync("/proc/self/cgroup", "utf8");
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let asked = 0;
  const isOver = (): boolean => {
    asked += 1;
    if (asked === 3) resolve(undefined);
    return asked === 3;
  };
  expectCgroupMigration(layout, isOver, 60_000); // on a busy machine 100 ms may be too short for two calls
  await promise;
  // A migration that is over is not checked again while another one is expected.
  await new Promise<void>((done) => {
    expectCgroupMigration(layout, () => {
      done();
      return true;
    });
  });
  assert.equal(asked, 3);
  assert.equal(readFileSync("/proc/self/cgroup", "utf8"), before);
});

test("expectCgroupMigration() does nothing with cgroup v2", () => {
  expectCgroupMigration({ ...layout, version: "v2" } as never, () => assert.fail());
});

test("speedUpCgroupMigration() does nothing with cgroup v2 and before Linux 6.18", async () => {
  assert.equal(
    await speedUpCgroupMigration({ ...layout, version: "v2" } as never, "6.18.0"),
    false,
  );
  for (const kernel of ["5.10.0-1-amd64", "6.17.13", "6.9-rc1"]) {
    assert.equal(await speedUpCgroupMigration(layout, kernel), false, kernel);
  }
});
