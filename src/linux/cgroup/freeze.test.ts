import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { spawnChild } from "../process/child.ts";
import { isFrozen, thawCgroup } from "./freeze.ts";
import { killCgroup } from "./kill.ts";
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
  test(`a cgroup of ${version} is thawed by its file, and a missing one is neither frozen nor thawed`, async () => {
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

test("killCgroup() on v1 kills frozen processes, and thaws all cgroups", async () => {
  const [, layout] = cases[1] ?? [];
  assert.ok(layout !== undefined);
  const child = spawnChild({ file: "sleep", args: ["60"], env: { PATH: "/usr/bin:/bin" } });
  const directories = ["/kill", "/kill/a", "/kill/a/b"].map((directory) =>
    path.join(root, directory),
  );
  for (const [index, directory] of directories.entries()) {
    mkdirSync(directory);
    // The pid stays in a fake file, so the call ends at the timeout.
    writeFileSync(path.join(directory, "cgroup.procs"), index === 2 ? `0\n${child.pid}\n` : "");
    writeFileSync(path.join(directory, "freezer.state"), index === 2 ? "FROZEN\n" : "THAWED\n");
  }
  await assert.rejects(killCgroup(layout(), "/kill", { timeoutMs: 1 }), /still running 1 ms/);
  assert.equal((await child.exited).signal, 9);
  for (const directory of directories) {
    assert.equal(readFileSync(path.join(directory, "freezer.state"), "utf8").trim(), "THAWED");
  }
  // Without a freezer, it kills the listed processes.
  const other = spawnChild({ file: "sleep", args: ["60"], env: { PATH: "/usr/bin:/bin" } });
  for (const directory of directories) rmSync(path.join(directory, "freezer.state"));
  writeFileSync(path.join(directories[2] ?? "", "cgroup.procs"), `${other.pid}\n`);
  await assert.rejects(killCgroup(layout(), "/kill", { timeoutMs: 1 }), /still running 1 ms/);
  assert.equal((await other.exited).signal, 9);
});
