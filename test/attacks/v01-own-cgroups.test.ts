/**
 * V1: a container that may write to its cgroups hides its processes from a stop: in cgroups below its own that are
 * frozen, threaded, renamed or nested deeply.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { container, exec, exited, inPod, Node, runIn, sh } from "../support/suites/containers.ts";
import { bare, leakless } from "../support/suites/pods.ts";
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

const isDelegated = /^\S+ \/sys\/fs\/cgroup cgroup2 .*nsdelegate/m.test(
  readFileSync("/proc/mounts", "utf8"),
);
const skip = isDelegated ? false : "no cgroup v2 with nsdelegate";

const deep = Array.from({ length: 20 }, (_, level) => `d${level}`).join("/");
const attacks = {
  "are frozen": "mkdir own && echo $p >own/cgroup.procs && echo 1 >own/cgroup.freeze",
  "are threaded": "mkdir own && echo threaded >own/cgroup.type; echo $p >own/cgroup.procs",
  "are nested deeply": `mkdir -p ${deep} && echo $p >${deep}/cgroup.procs`,
} as const;

for (const [what, steps] of Object.entries(attacks)) {
  test(
    `processes in a container's own cgroups that ${what} end with the container`,
    { skip },
    leakless(served, () =>
      inPod(daemon, bare(), async (at) => {
        const id = await runIn(at, container());
        await sh(daemon, id, `sleep 54321 >/dev/null 2>&1 & p=$!; cd /sys/fs/cgroup; ${steps}`);
        await daemon.client.runtime.stopContainer({ containerId: id, timeout: 0n });
        await exited(daemon, id);
      }),
    ),
  );
}

test(
  "a container renames no cgroup, its own and those below",
  { skip },
  leakless(served, () =>
    inPod(daemon, bare(), async (at) => {
      const id = await runIn(at, container());
      await sh(daemon, id, "mkdir /sys/fs/cgroup/own");
      const said = await exec(daemon, id, ["sh", "-c", "mv /sys/fs/cgroup/own /sys/fs/cgroup/x"]);
      assert.notEqual(said.exitCode, 0, "it renamed a cgroup");
      assert.equal(await sh(daemon, id, "ls -d /sys/fs/cgroup/own"), "/sys/fs/cgroup/own");
    }),
  ),
);
