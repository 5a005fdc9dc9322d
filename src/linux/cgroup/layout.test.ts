import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { parseMountInfo } from "../mount/mounts.ts";
import { cgroupDirs, controllerDir, detectCgroups, hasNsdelegate } from "./layout.ts";

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
  test("detects a unified host and its controllers", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "cpuset cpu io memory pids\n");
    assert.deepEqual(detectCgroups([proc, line("cgroup2", dir, "rw,nsdelegate")].join("\n")), {
      version: "v2",
      root: dir,
      controllers: ["cpuset", "cpu", "io", "memory", "pids"],
    });
  });

  test("detects v1 hierarchies, each once", () => {
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

  test("gives advice on a hybrid host whose v2 tree owns a controller", () => {
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

  test("gives no advice on a hybrid host whose v2 tree owns none", () => {
    writeFileSync(join(dir, "cgroup.controllers"), "\n");
    const layout = detectCgroups([...legacy, line("cgroup2", dir, "rw")].join("\n"));
    assert.ok(layout.version === "v1");
    assert.deepEqual([layout.ownedByV2, layout.advice], [[], undefined]);
  });

  test("detects v2 next to systemd's named hierarchy as v2", () => {
    const named = line("cgroup", "/cg/systemd", "rw,name=systemd");
    assert.equal(detectCgroups([named, line("cgroup2", dir, "rw")].join("\n")).version, "v2");
  });

  test("names the command to mount cgroups when none are mounted", () => {
    assert.throws(
      () => detectCgroups(proc),
      (error) => isKind(error, "failed-precondition") && /mount -t cgroup2/.test(String(error)),
    );
  });
});

describe("cgroupDirs()", () => {
  const layout = detectCgroups(legacy.join("\n"));

  test("gives the directory in each hierarchy", () => {
    assert.deepEqual(cgroupDirs(layout, "/davit//abc/"), [
      "/cg/cpu,cpuacct/davit/abc",
      "/cg/memory/davit/abc",
      "/cg/systemd/davit/abc",
    ]);
    assert.ok(layout.version === "v1");
    assert.equal(controllerDir(layout, "cpuacct", "/davit"), "/cg/cpu,cpuacct/davit");
    assert.equal(controllerDir(layout, "pids", "/davit"), undefined);
  });

  test("rejects the root, relative paths and paths with dots", () => {
    for (const path of ["", "/", "//", "davit", "/../davit", "/davit/..", "/davit/./abc"]) {
      assert.throws(
        () => cgroupDirs(layout, path),
        (error) => isKind(error, "invalid-argument"),
        path,
      );
    }
  });
});

describe("hasNsdelegate()", () => {
  // Debian 13 with systemd, the same after a mount of cgroup2 without options, and a
  // hybrid host.
  const root = "/sys/fs/cgroup";
  const recorded = (options: string): string =>
    `29 23 0:26 / ${root} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 ${options}`;
  const hybrid = `53 43 0:38 / ${root}/unified rw,relatime - cgroup2 cgroup2 rw`;

  test("is true only if cgroup v2 has the option", () => {
    const of = (...lines: readonly string[]): boolean =>
      hasNsdelegate(parseMountInfo(lines.join("\n")));
    assert.equal(of(proc, recorded("rw,nsdelegate,memory_recursiveprot")), true);
    assert.equal(of(proc, recorded("rw")), false);
    assert.equal(of(proc, recorded("rw,memory_recursiveprot")), false);
    assert.equal(of(...legacy, hybrid), false);
    assert.equal(of(...legacy), false);
    // As an option of one mount, or of another file system, it has no meaning.
    assert.equal(of(recorded("rw").replace("relatime", "nsdelegate")), false);
    assert.equal(of(line("cgroup", "/cg", "rw,nsdelegate"), recorded("rw")), false);
  });
});
