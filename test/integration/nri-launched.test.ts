/** Plugins of the node (NRI) that davit starts from a directory: the example of the SDK, and one that dies. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { nriStatus, pluginNames, withPlugins } from "../support/nri.ts";
import { patient } from "../support/patience.ts";
import { inPod, Node, runIn, script, sh } from "../support/suites/containers.ts";
import { launchDaemon, pod, until } from "../support/suites/pods.ts";

const example = path.resolve(import.meta.dirname, "../../examples/nri/ulimit-adjuster.ts");

let node: Node;
let daemon: TestDaemon;

before(async () => {
  // The example starts Node.js, which takes seconds on a busy machine.
  const patience = {
    plugin_registration_timeout: patient(30),
    plugin_request_timeout: patient(30),
  };
  node = await Node.startWithBusybox({ config: { nri: { ...withPlugins.nri, ...patience } } });
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

test("davit starts the plugins of the directory before it answers, and reports one that dies", async () => {
  await daemon.stop();
  const plugins = path.join(daemon.paths.directory, "nri-plugins");
  mkdirSync(plugins, { mode: 0o755 });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${example}'\n`;
  writeFileSync(path.join(plugins, "10-ulimits"), program, { mode: 0o755 });
  writeFileSync(path.join(plugins, "20-dies"), "#!/bin/sh\nexit 3\n", { mode: 0o755 });
  await launchDaemon(daemon);
  assert.deepEqual(await pluginNames(daemon), ["10-ulimits"]);
  await until("the failure of the other one is shown", async () => {
    const { failures } = await nriStatus(daemon);
    return failures.some(({ plugin }) => plugin.includes("20-dies"));
  });
  const wanted = script("sleep 1000");
  const key = `ulimits.noderesource.dev/container.${wanted.metadata?.name ?? ""}`;
  const limits = "- type: RLIMIT_NOFILE\n  soft: 111\n  hard: 222\n";
  await inPod(daemon, pod({}, { annotations: { [key]: limits } }), async (inside) => {
    const id = await runIn(inside, wanted);
    assert.equal(await sh(daemon, id, "ulimit -Sn; ulimit -Hn"), "111\n222");
  });
});

test("a plugin that davit started ends with a davit that is killed, and is started once by the next", async () => {
  const first = await pidOf("10-ulimits");
  await daemon.kill9();
  await until("the plugin ends", () => !existsSync(`/proc/${first}`));
  await launchDaemon(daemon);
  assert.notEqual(await pidOf("10-ulimits"), first);
});

async function pidOf(plugin: string): Promise<number> {
  const { plugins } = await nriStatus(daemon);
  assert.deepEqual(
    plugins.map(({ name }) => name),
    [plugin],
  );
  return plugins[0]?.pid ?? 0;
}
