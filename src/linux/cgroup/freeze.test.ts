import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { spawnChild } from "../process/child.ts";
import { freezeCgroup, isFrozen, thawCgroup } from "./freeze.ts";
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

const never = new AbortController().signal;

for (const [version, layout, name] of cases) {
  const [frozen, thawed] = version === "v2" ? ["1", "0"] : ["FROZEN", "THAWED"];
  const makeCgroup = (cgroup: string, events: string): string => {
    mkdirSync(path.join(root, cgroup), { recursive: true });
    const file = path.join(root, cgroup, name);
    writeFileSync(file, `${thawed}\n`);
    writeFileSync(path.join(root, cgroup, "cgroup.events"), events);
    return file;
  };

  test(`freezeCgroup() on ${version} returns when all processes are frozen, and false for a missing cgroup`, async () => {
    const cgroup = `/freeze/${version}`;
    const file = makeCgroup(cgroup, "populated 1\nfrozen 1\n");
    assert.equal(await freezeCgroup(layout(), cgroup, { signal: never }), true);
    assert.equal(readFileSync(file, "utf8").trim(), frozen);
    assert.equal(await freezeCgroup(layout(), cgroup, { signal: never }), true);
    assert.equal(await freezeCgroup(layout(), "/freeze/none", { signal: never }), false);
  });

  test(`freezeCgroup() on ${version} thaws again when it is aborted before it begins or the cgroup does not freeze`, async () => {
    const cgroup = `/hangs/${version}`;
    const file = makeCgroup(cgroup, "populated 1\nfrozen 0\n");
    writeFileSync(path.join(root, cgroup, "cgroup.procs"), `${process.pid}\n`);
    const aborted = AbortSignal.abort(new Error("the client has left"));
    await assert.rejects(freezeCgroup(layout(), cgroup, { signal: aborted }), /client has left/);
    assert.equal(readFileSync(file, "utf8").trim(), thawed);
    // A file of v1 does not become FREEZING here: the kernel test has a process that does not freeze.
    if (version === "v1") return;
    await assert.rejects(freezeCgroup(layout(), cgroup, { signal: never, timeoutMs: 1 }), {
      kind: "deadline-exceeded",
      message: new RegExp(
        `^freeze cgroup "${cgroup}": not frozen after 1 ms: process ${process.pid} `,
      ),
    });
    assert.equal(readFileSync(file, "utf8").trim(), thawed);
    const leaving = new AbortController();
    setTimeout(() => leaving.abort(new Error("the client has left")), 5);
    const freezing = freezeCgroup(layout(), cgroup, { signal: leaving.signal });
    await assert.rejects(freezing, /client has left/);
    assert.equal(readFileSync(file, "utf8").trim(), thawed);
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
