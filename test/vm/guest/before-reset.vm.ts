/** First boot of the reboot test: pods in every state, then the machine is reset under them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState, NamespaceMode } from "../../../src/gen/runtime/v1/api_pb.ts";
import { busyboxLayer, imageOf } from "../../support/images.ts";
import { podConfig } from "../../support/pod.ts";
import { TestRegistry } from "../../support/registry.ts";
import {
  bootId,
  type Expectation,
  expectationFile,
  startNode,
  unsyncedLayers,
} from "./node-on-disk.ts";

const image = "registry.k8s.io/e2e/busybox:1";

test("pods and containers run on a machine that is about to be reset", async () => {
  await using registry = await TestRegistry.start();
  const pushed = imageOf([busyboxLayer()], { Env: ["PATH=/bin"] });
  await registry.push("e2e/busybox", pushed, ["1"]);
  using client = (await startNode(registry.certsDir)).client;
  await client.image.pullImage({ image: { image } });

  const runPod = async (pid: NamespaceMode) => {
    const config = podConfig();
    Object.assign(config.linux?.securityContext?.namespaceOptions ?? {}, { pid });
    const { podSandboxId } = await client.runtime.runPodSandbox({ config });
    const create = async (name: string, command: string) => {
      const { containerId } = await client.runtime.createContainer({
        podSandboxId,
        sandboxConfig: config,
        config: {
          metadata: { name, attempt: 0 },
          image: { image },
          command: ["/bin/sh", "-c", command],
          linux: {
            resources: { memoryLimitInBytes: 64n << 20n },
            securityContext: { namespaceOptions: { pid } },
          },
        },
      });
      return containerId;
    };
    return { podSandboxId, create };
  };
  const first = await runPod(NamespaceMode.CONTAINER);
  const second = await runPod(NamespaceMode.POD);
  const running = [
    await first.create("a", "sleep 100000"),
    await second.create("b", "sleep 100000"),
  ];
  const exited = await first.create("c", "exit 3");
  const created = await second.create("d", "sleep 100000");
  for (const containerId of [...running, exited]) {
    await client.runtime.startContainer({ containerId });
  }
  for (;;) {
    const { status } = await client.runtime.containerStatus({ containerId: exited });
    if (status?.state === ContainerState.CONTAINER_EXITED) break;
    await sleep(50);
  }
  const expectation: Expectation = {
    bootId: bootId(),
    image,
    pods: [first.podSandboxId, second.podSandboxId],
    running,
    exited,
    created,
  };
  writeFileSync(expectationFile, JSON.stringify(expectation));
  // Everything that runs now must be found again. davit itself waits for no disk when it pulls an image and runs a pod.
  while (unsyncedLayers() > 0) await sleep(50);
  execFileSync("sync");
  // The record of this pod may or may not be on the disk. Its address must not leak.
  const { podSandboxId } = await runPod(NamespaceMode.CONTAINER);
  assert.ok(podSandboxId !== "");
});
