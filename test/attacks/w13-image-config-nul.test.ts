/** An image whose config has a NUL: a container of it would get less than tools show. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { imageless, listImages, Node, pull } from "../support/suites/containers.ts";
import { failsWith } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type RunConfig } from "../support/images.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

const dataLoss = 15;
const configs: Readonly<Record<string, RunConfig>> = {
  Env: { Env: ["C=a\0b"] },
  WorkingDir: { WorkingDir: "/a\0b" },
  Cmd: { Cmd: ["/bin/sh", "a\0b"] },
  Volumes: { Volumes: { "/a\0b": {} } },
};

for (const [field, config] of Object.entries(configs)) {
  test(
    `PullImage refuses a NUL in ${field} and keeps nothing`,
    imageless(served, async () => {
      const name = `e2e/nul-${field.toLowerCase()}`;
      await node.registry.push(name, imageOf([busyboxLayer()], config), ["1"]);
      await assert.rejects(
        pull(daemon, `registry.k8s.io/${name}:1`),
        failsWith(dataLoss, new RegExp(`config\\.${field} has a NUL`)),
      );
      assert.deepEqual(await listImages(daemon), []);
    }),
  );
}
