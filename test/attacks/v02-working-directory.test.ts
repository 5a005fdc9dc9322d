/**
 * V2: a working directory that is one of the OCI runtime's own descriptors, so that the container starts in a
 * directory of the node (CVE-2024-21626).
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { createIn, exited, inPod, Node, script, start } from "../support/suites/containers.ts";
import { bare, leakless } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

for (const handler of ["crun", "runc"]) {
  test(
    `no descriptor of ${handler} leads to the node`,
    leakless(served, async () => {
      const canary = path.join(daemon.paths.directory, "canary");
      writeFileSync(canary, "the node's", { mode: 0o600 });
      const use = async (at: Parameters<typeof createIn>[0]): Promise<void> => {
        for (let fd = 3; fd <= 12; fd++) {
          // Where the container starts at all, it must not find the node's root above.
          const text = `cat ${"../".repeat(12)}${canary.slice(1)} || cat .${canary}`;
          const config = script(text, { workingDir: `/proc/self/fd/${fd}` });
          const id = await createIn(at, config);
          await start(daemon, id).catch(() => undefined);
          const { exitCode } = await exited(daemon, id);
          assert.notEqual(exitCode, 0, `descriptor ${fd}`);
        }
      };
      await inPod(daemon, bare(), use, handler);
    }),
  );
}
