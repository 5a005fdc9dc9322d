import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { isFrozen, thawCgroup } from "./freeze.ts";
import type { CgroupLayout } from "./layout.ts";

let root = "";

before(() => {
  root = mkdtempSync(path.join(tmpdir(), "davit-freeze-"));
});
after(() => {
  rmSync(root, { recursive: true });
});

const cases: readonly (readonly [version: string, layout: () => CgroupLayout, file: string])[] = [
  ["v2", () => ({ version: "v2", root, controllers: [] }), "cgroup.freeze"],
  [
    "v1",
    () => ({
      version: "v1",
      hierarchies: [{ path: root, controllers: ["freezer"] }],
      ownedByV2: [],
      advice: undefined,
    }),
    "freezer.state",
  ],
];

for (const [version, layout, name] of cases) {
  test(`a cgroup of ${version} is thawed by its file, and one that is not there is neither`, async () => {
    const cgroup = `/pod/${version}`;
    const file = path.join(root, cgroup, name);
    mkdirSync(path.dirname(file), { recursive: true });
    const [frozen, thawed] = version === "v2" ? ["1\n", "0"] : ["FROZEN\n", "THAWED"];
    writeFileSync(file, frozen);
    assert.equal(await isFrozen(layout(), cgroup), true);
    await thawCgroup(layout(), cgroup);
    assert.equal(readFileSync(file, "utf8").trim(), thawed);
    assert.equal(await isFrozen(layout(), cgroup), false);
    assert.equal(await isFrozen(layout(), "/pod/none"), undefined);
    await thawCgroup(layout(), "/pod/none");
  });
}
