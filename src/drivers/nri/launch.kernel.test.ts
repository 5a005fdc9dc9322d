import assert from "node:assert/strict";
import { readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { childPids, openFds, until } from "../../linux/testing/leaks.ts";
import { noAbort, podOf, startNode, type TestNode } from "./testing/node.ts";
import { TestPlugin } from "./testing/plugin.ts";

const module = fileURLToPath(new URL("./testing/launched.ts", import.meta.url));
// Not process.execPath: that of npm run test:native is a script, which adds variables to the environment.
const script = `#!${readlinkSync("/proc/self/exe")}\nimport(${JSON.stringify(module)});\n`;
const timeouts = { registrationMs: 60_000, requestMs: 30_000 };

function install(
  { pluginDirectory }: Pick<TestNode, "pluginDirectory">,
  name: string,
  text = script,
): void {
  writeFileSync(join(pluginDirectory, name), text, { mode: 0o755 });
}

describe("plugins that davit starts", () => {
  it("have a connection, a configuration and nothing else, and end with davit", async () => {
    const before = openFds().size;
    // Also after a failure: a plugin that ignores SIGTERM would keep this process.
    await using node = await startNode({
      timeouts,
      before: (made) => {
        install(made, "20-second");
        install(made, "10-first");
        install(made, "30-missing", "#!/nowhere/at-all\n");
        install(made, "40-silent", "#!/bin/sh\nexit 4\n");
        writeFileSync(join(made.configDirectory, "first.conf"), "stubborn");
      },
    });
    const { plugins, lines } = node;
    assert.deepEqual(
      plugins.status.plugins.map(({ name, external }) => [name, external]),
      [
        ["10-first", false],
        ["20-second", false],
      ],
    );
    await until("the output is logged", () =>
      [
        'info: NRI plugin "10-first": config stubborn',
        'info: NRI plugin "20-second": started in / with NRI_PLUGIN_IDX,NRI_PLUGIN_NAME,NRI_PLUGIN_SOCKET',
      ].every((line) => lines.includes(line)),
    );
    assert.ok(lines.some((line) => /"30-missing" is not used: start .*ENOENT/.test(line)));
    assert.ok(lines.some((line) => /"40-silent" is not used: .*the peer closed it/.test(line)));
    assert.equal(childPids().length, 2);
    await node[Symbol.asyncDispose]();
    assert.deepEqual(childPids(), []);
    await until("descriptors are closed", () => openFds().size <= before);
  });

  it("are not started again when they die", async () => {
    await using node = await startNode({ timeouts, before: (made) => install(made, "10-a") });
    const { plugins } = node;
    await plugins.runPodSandbox(podOf("p"), noAbort);
    await until("the plugin is gone", () => !plugins.active && childPids().length === 0);
    const line = node.lines.find((text) => text.startsWith('error: lost NRI plugin "10-a"'));
    assert.match(
      line ?? "",
      /at RunPodSandbox of sandbox "p": .*; davit starts it again when davit itself is restarted/,
    );
  });
});

it("knows the process of a plugin that connects", async () => {
  await using node = await startNode();
  using _plugin = await TestPlugin.register(node.socketPath);
  await until("the plugin is synchronized", () => node.plugins.status.plugins.length === 1);
  assert.equal(node.plugins.status.plugins[0]?.pid, process.pid);
});
