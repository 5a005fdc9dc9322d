/**
 * R2: a privileged container, which sees the node's own tree of cgroups, removes the options of that tree with its
 * mount of it: nsdelegate and memory_recursiveprot of cgroup v2.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { container, inPod, Node, runIn, sh } from "../support/suites/containers.ts";
import { bare, CONTAINER, leakless, NODE, parentOf } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

/** The node's mounts of cgroups with the options of their superblocks. */
function cgroupMounts(): readonly string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.filter((line) => / - cgroup2? /.test(line));
}

describe("a privileged container leaves the node's cgroups as they are mounted", () => {
  for (const handler of ["crun", "runc"]) {
    test(
      `by ${handler}`,
      leakless(served, async () => {
        const before = cgroupMounts();
        assert.notEqual(before.length, 0);
        const namespaceOptions = { network: NODE, ipc: NODE, pid: CONTAINER };
        const linux = {
          cgroupParent: parentOf(bare()),
          securityContext: { privileged: true, namespaceOptions },
        };
        const use = async (at: Parameters<typeof runIn>[0]): Promise<void> => {
          const securityContext = { privileged: true };
          const id = await runIn(at, container({ linux: { securityContext } }));
          // It has all hierarchies, and may write to them.
          assert.match(
            await sh(daemon, id, "cat /proc/mounts"),
            / \/sys\/fs\/cgroup\S* cgroup2? rw/,
          );
          assert.deepEqual(cgroupMounts(), before);
        };
        await inPod(daemon, bare({ linux }), use, handler);
        assert.deepEqual(cgroupMounts(), before);
      }),
    );
  }
});
