/** F8: a container fills the node's state through a file that the node keeps for its pod. */
import assert from "node:assert/strict";
import { statfsSync } from "node:fs";
import { after, before, test } from "node:test";
import { container, exec, inPod, Node, runIn, sh } from "../support/suites/containers.ts";
import { leakless, pod, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

const diskMiB = 64;
let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox({ diskMiB });
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => node[Symbol.asyncDispose]());

/** Free bytes of the file system of the state. */
function room(): number {
  const { bavail, bsize } = statfsSync(daemon.paths.state);
  return bavail * bsize;
}

test(
  "a container that fills its pod's files takes no space from the node and from other pods",
  leakless(served, () =>
    inPod(daemon, pod(), async (attacker) => {
      await inPod(daemon, pod(), async (other) => {
        const [id, bystander] = [await runIn(attacker), await runIn(other)];
        const before = room();
        for (const name of ["resolv.conf", "hosts", "hostname"]) {
          const fill = `dd if=/dev/zero of=/etc/${name} bs=1M count=${diskMiB}`;
          const said = await exec(daemon, id, ["sh", "-c", fill]);
          assert.match(said.stderr, /No space left on device/);
        }
        assert.ok(before - room() < 2 ** 20, `${before} bytes were free, now ${room()}`);
        await sh(daemon, bystander, "echo '# mine' >> /etc/hosts");
        await withPod(daemon, pod(), async () => undefined);
        // Its own pod keeps working, too.
        await runIn(attacker, container());
      });
    }),
  ),
);
