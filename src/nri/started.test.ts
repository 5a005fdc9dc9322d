import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import path from "node:path";
import { test } from "node:test";
import { Plugin } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { FakeRuntime } from "./testing/fake-runtime.ts";

const program = path.join(import.meta.dirname, "testing/started-plugin.ts");

test("a plugin that the runtime starts uses descriptor 3, its file's name, and ends with the runtime", async () => {
  await using runtime = FakeRuntime.withoutSocket();
  const child = spawn(process.execPath, [program], {
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    // As a runtime starts it: without PATH and HOME.
    env: { NRI_PLUGIN_SOCKET: "3", NRI_PLUGIN_NAME: "from-file", NRI_PLUGIN_IDX: "42" },
  });
  const exited = once(child, "exit");
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  try {
    runtime.adopt(child.stdio[3] as Socket);
    const plugin = await Promise.race([
      runtime.registered(),
      exited.then(() => assert.fail(`the plugin ended: ${errors}`)),
    ]);
    assert.equal(plugin.registration.pluginName, "from-file");
    assert.equal(plugin.registration.pluginIdx, "42");
    await plugin.configure();
    const { createContainer } = Plugin.method;
    const request = { pod: { id: "p1" }, container: { id: "c1", name: "app" } };
    const { adjust } = await plugin.call(createContainer, request);
    assert.deepEqual(
      adjust?.env.map(({ key, value }) => `${key}=${value}`),
      ["NAME=app"],
    );
    plugin.close();
    assert.deepEqual(await exited, [0, null], errors);
  } finally {
    child.kill("SIGKILL");
  }
});
