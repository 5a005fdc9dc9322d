/** Plugins of the node (NRI) where a containerd shim runs the containers. */
import "../support/suites/by-shim.ts";
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { connectPlugin, withPlugins } from "../support/nri.ts";
import { inPod, Node, remove, runIn, sh, stop } from "../support/suites/containers.ts";
import { bare } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;

before(async () => {
  node = await Node.startWithBusybox({ config: withPlugins });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

test("a plugin adjusts a container of a shim, and is told about each step", async () => {
  using plugin = await connectPlugin(daemon, {
    answers: {
      createContainer: () => ({
        adjust: {
          env: [{ key: "INJECTED", value: "yes" }],
          rlimits: [{ type: "RLIMIT_NOFILE", hard: 222n, soft: 111n }],
        },
      }),
    },
  });
  await inPod(daemon, bare(), async (inside) => {
    const id = await runIn(inside);
    assert.equal(await sh(daemon, id, "echo $INJECTED; ulimit -n"), "yes\n111");
    await stop(daemon, id);
    await remove(daemon, id);
    assert.deepEqual(plugin.namesOf(id), [
      "createContainer",
      "postCreateContainer",
      "startContainer",
      "postStartContainer",
      "stopContainer",
      "removeContainer",
    ]);
    const pids = plugin.events
      .filter(({ name }) => /startContainer/i.test(name))
      .map(({ container }) => container?.pid);
    assert.equal(pids.length, 2);
    assert.ok((pids[0] ?? 0) > 1 && pids[0] === pids[1]);
  });
});
