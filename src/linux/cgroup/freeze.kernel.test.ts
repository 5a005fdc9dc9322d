import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";

import { testMark } from "../../../test/support/belongs.ts";
import { spawnChildInPool } from "../process/child.ts";
import {
  type CgroupLayout,
  cgroupProcs,
  cgroupProcsPaths,
  createCgroup,
  detectCgroups,
  freezeCgroup,
  isFrozen,
  killCgroup,
  removeCgroup,
  thawCgroup,
} from "./index.ts";

const detected = detectCgroups();
const parent = `/${testMark}`;
const path = `${parent}/pod/container`;
const { signal } = new AbortController();

/** The layouts of this host: a hybrid one has the tree of v2 as well, whose freezer needs no controller. */
function* layouts(): Iterable<CgroupLayout> {
  yield detected;
  if (detected.version === "v2") return;
  const root = detected.hierarchies.find(({ controllers }) => controllers.length === 0)?.path;
  if (root !== undefined) yield { version: "v2", root, controllers: [] };
}

for (const layout of layouts()) {
  describe(`the freezer of ${layout.version}`, () => {
    afterEach(async () => {
      await killCgroup(layout, parent);
      await removeCgroup(layout, parent);
    });

    /** Runs a shell script in a cgroup. */
    async function runIn(cgroup: string, script: string): Promise<void> {
      await spawnChildInPool({
        file: "sh",
        args: ["-c", script],
        env: { PATH: "/usr/bin:/bin" },
        cgroupProcsPaths: cgroupProcsPaths(layout, cgroup),
      });
    }

    test("freezeCgroup() freezes processes that fork as fast as they can, in cgroups below as well", async () => {
      await createCgroup(layout, path);
      await createCgroup(layout, `${path}/inner`);
      const forks = "while :; do (:) & (exec true); done";
      for (let shells = 0; shells < 4; shells++) await runIn(`${path}/inner`, forks);
      for (let rounds = 0; rounds < 10; rounds++) {
        assert.equal(await freezeCgroup(layout, path, { signal }), true);
        const before = await cgroupProcs(layout, path);
        assert.ok(before.length >= 4);
        assert.deepEqual(await cgroupProcs(layout, path), before, "no process is made");
        await thawCgroup(layout, path);
        assert.equal(await isFrozen(layout, path), false);
        let now = before;
        while (now.join() === before.join()) now = await cgroupProcs(layout, path);
      }
    });

    test("killCgroup() kills what freezeCgroup() has frozen", async () => {
      await createCgroup(layout, path);
      await runIn(path, "trap '' TERM; while :; do sleep 1; done");
      await freezeCgroup(layout, path, { signal });
      await killCgroup(layout, path);
      assert.deepEqual(await cgroupProcs(layout, path), []);
    });
  });
}
