/**
 * R1: a container that may write to its cgroups (`cgroup_writable`) changes its own limits. On cgroup v2,
 * nsdelegate keeps it from that; on any other node it is refused, for a request's `cgroup_mount_mode` as for the handler.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { container, createIn, exec, inPod, Node, runIn, sh } from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless } from "../support/suites/pods.ts";
import { CgroupMountMode } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  const handlers = { crun: { cgroup_writable: true } };
  node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

const cgroups = readFileSync("/proc/mounts", "utf8").match(
  /^\S+ \/sys\/fs\/cgroup cgroup2 .*$/m,
)?.[0];
const isDelegated = cgroups?.includes("nsdelegate") === true;

test(
  "cgroups that a container may write to are refused where nothing keeps its limits",
  { skip: isDelegated ? "cgroup v2 with nsdelegate" : false },
  leakless(served, () =>
    inPod(daemon, bare(), async (at) => {
      await assert.rejects(
        createIn(at),
        failsWith(code.failedPrecondition, /cgroup_writable.*(needs cgroup v2|nsdelegate)/),
      );
    }),
  ),
);

test(
  "a request can keep a container from writing, whatever its handler says",
  leakless(served, () =>
    inPod(daemon, bare(), async (at) => {
      const cgroupMountMode = CgroupMountMode.READ_ONLY;
      const id = await runIn(at, container({ linux: { securityContext: { cgroupMountMode } } }));
      // On v1 the directory above the hierarchies is a tmpfs.
      const directory = cgroups === undefined ? "memory/own" : "own";
      const said = await exec(daemon, id, ["mkdir", `/sys/fs/cgroup/${directory}`]);
      assert.match(said.stderr, /Read-only file system/);
    }),
  ),
);

test(
  "a container makes cgroups of its own, and does not change its limits",
  { skip: isDelegated ? false : "no cgroup v2 with nsdelegate" },
  leakless(served, () =>
    inPod(daemon, bare(), async (at) => {
      const resources = { memoryLimitInBytes: 64n << 20n };
      const id = await runIn(at, container({ linux: { resources } }));
      await sh(daemon, id, "mkdir /sys/fs/cgroup/own && rmdir /sys/fs/cgroup/own");
      const said = await exec(daemon, id, ["sh", "-c", "echo max > /sys/fs/cgroup/memory.max"]);
      assert.notEqual(said.exitCode, 0, "it wrote its own limit");
      assert.equal(await sh(daemon, id, "cat /sys/fs/cgroup/memory.max"), String(64 << 20));
    }),
  ),
);
