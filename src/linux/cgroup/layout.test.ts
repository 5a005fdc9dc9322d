import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { cgroupDirs, controllerDir, detectCgroups } from "./layout.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-layout-"));
after(() => rmSync(dir, { recursive: true }));

const line = (type: string, point: string, options: string): string =>
  `31 24 0:29 / ${point} rw,nosuid shared:9 - ${type} ${type} ${options}`;
const proc = line("proc", "/proc", "rw");
const legacy = [
  proc,
  line("cgroup", "/cg/cpu,cpuacct", "rw,cpu,cpuacct"),
  line("cgroup", "/cg/memory", "rw,memory"),
  line("cgroup", "/cg/memory-again", "rw,memory"),
  line("cgroup", "/cg/systemd", "rw,xattr,release_agent=/lib/systemd/agent,name=systemd"),
];

describe("detectCgroups()", () => {
  test("knows a unified host and its controllers", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "cpuset cpu io memory pids\n");
    assert.deepEqual(detectCgroups([proc, line("cgroup2", dir, "rw,nsdelegate")].join("\n")), {
      version: "v2",
      root: dir,
      controllers: ["cpuset", "cpu", "io", "memory", "pids"],
    });
  });

  test("knows v1 hierarchies, each once", () => {
    assert.deepEqual(detectCgroups(legacy.join("\n")), {
      version: "v1",
      hierarchies: [
        { path: "/cg/cpu,cpuacct", controllers: ["cpu", "cpuacct"] },
        { path: "/cg/memory", controllers: ["memory"] },
        { path: "/cg/systemd", controllers: ["name=systemd"] },
      ],
      ownedByV2: [],
      advice: undefined,
    });
  });

  test("says what to do on a hybrid host whose v2 tree owns a controller", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "hugetlb\n");
    const layout = detectCgroups([...legacy, line("cgroup2", dir, "rw")].join("\n"));
    assert.ok(layout.version === "v1");
    assert.deepEqual(layout.ownedByV2, ["hugetlb"]);
    assert.deepEqual(layout.hierarchies.at(-1), { path: dir, controllers: [] });
    assert.match(
      layout.advice ?? "",
      /mount -t cgroup -o hugetlb cgroup \/sys\/fs\/cgroup\/hugetlb/,
    );
  });

  test("has nothing to say on a hybrid host whose v2 tree owns none", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "\n");
    const layout = detectCgroups([...legacy, line("cgroup2", dir, "rw")].join("\n"));
    assert.ok(layout.version === "v1");
    assert.deepEqual([layout.ownedByV2, layout.advice], [[], undefined]);
  });

  test("takes v2 beside systemd's named hierarchy for v2", () => {
    const named = line("cgroup", "/cg/systemd", "rw,name=systemd");
    assert.equal(detectCgroups([named, line("cgroup2", dir, "rw")].join("\n")).version, "v2");
  });

  test("says what to mount when nothing is", () => {
    assert.throws(
      () => detectCgroups(proc),
      (error) => isKind(error, "failed-precondition") && /mount -t cgroup2/.test(String(error)),
    );
  });
});

describe("cgroupDirs()", () => {
  const layout = detectCgroups(legacy.join("\n"));

  test("gives the folder in each hierarchy", () => {
    assert.deepEqual(cgroupDirs(layout, "/davit//abc/"), [
      "/cg/cpu,cpuacct/davit/abc",
      "/cg/memory/davit/abc",
      "/cg/systemd/davit/abc",
    ]);
    assert.ok(layout.version === "v1");
    assert.equal(controllerDir(layout, "cpuacct", "/davit"), "/cg/cpu,cpuacct/davit");
    assert.equal(controllerDir(layout, "pids", "/davit"), undefined);
  });

  test("refuses the root, relative paths and ways out", () => {
    for (const path of ["", "/", "//", "davit", "/../davit", "/davit/..", "/davit/./abc"]) {
      assert.throws(
        () => cgroupDirs(layout, path),
        (error) => isKind(error, "invalid-argument"),
        path,
      );
    }
  });
});
