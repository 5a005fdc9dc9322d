/** The daemon is killed around each call of a plugin of the node (NRI). Afterwards everything works, and nothing is left. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { pluginPoints } from "../support/crash/spots.ts";
import { connectPlugin, withPlugins } from "../support/nri.ts";
import { createIn, Node, remove, start, stop } from "../support/suites/containers.ts";
import {
  bare,
  launchDaemon,
  listIds,
  removePod,
  runPod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;

before(async () => {
  node = await Node.startWithBusybox({ config: withPlugins });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

/** Everything that plugins are told about. */
async function walk(): Promise<void> {
  const config = bare();
  const id = await runPod(daemon, config);
  const linux = { cpuShares: 512n };
  await daemon.client.runtime.updatePodSandboxResources({ podSandboxId: id, resources: linux });
  const containerId = await createIn({ daemon, id, config });
  await start(daemon, containerId);
  await daemon.client.runtime.updateContainerResources({ containerId, linux });
  await stop(daemon, containerId);
  await remove(daemon, containerId);
  await stopPod(daemon, id);
  await removePod(daemon, id);
}

for (const point of pluginPoints) {
  test(`kill -9 at ${point}`, async () => {
    await daemon.stop();
    await launchDaemon(daemon, { DAVIT_FAULTS: `${point}=kill` });
    {
      using _plugin = await connectPlugin(daemon);
      await assert.rejects(walk());
      assert.equal((await daemon.exited).signal, "SIGKILL");
    }
    await launchDaemon(daemon);
    using plugin = await connectPlugin(daemon);
    const known = new Set([...plugin.pods, ...plugin.containers].map(({ id }) => id));
    for (const id of await listIds(daemon)) await removePod(daemon, id);
    // What it is told is about what it was shown, except for pods that were being created.
    const strange = plugin.events.filter(
      ({ container, pod }) => !known.has(container?.id ?? pod?.id ?? ""),
    );
    assert.deepEqual(
      strange.map(({ name }) => name).filter((name) => !name.startsWith("remove")),
      [],
    );
    await walk();
    await until("all containers are gone", async () => {
      const { containers } = await daemon.client.runtime.listContainers({});
      return containers.length === 0;
    });
    assert.deepEqual(await listIds(daemon), []);
  });
}
