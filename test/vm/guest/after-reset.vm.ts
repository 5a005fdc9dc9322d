/** Second boot of the reboot test: the state that davit reports for pods that a reset ended, and what it releases. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState, PodSandboxState } from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import {
  bootId,
  type Expectation,
  expectationFile,
  ipamDir,
  type RunningNode,
  startNode,
} from "./node-on-disk.ts";

const expected = JSON.parse(readFileSync(expectationFile, "utf8")) as Expectation;
let node: RunningNode;
before(async () => {
  node = await startNode("/nonexistent");
});
after(async () => {
  node.client[Symbol.dispose]();
  await node.stop();
});

/** The addresses that host-local has assigned: it has a file for each. */
function takenAddresses(): readonly string[] {
  const files = readdirSync(ipamDir, { recursive: true, encoding: "utf8" });
  return files.map((file) => path.basename(file)).filter((name) => /^\d+(\.\d+){3}$/.test(name));
}

async function statusOf(containerId: string) {
  const { status } = await node.client.runtime.containerStatus({ containerId });
  assert.ok(status !== undefined);
  return status;
}

test("the boot is another one", () => {
  assert.notEqual(bootId(), expected.bootId);
});

test("sandboxes are there and NOTREADY", async () => {
  const { items } = await node.client.runtime.listPodSandbox({});
  for (const id of expected.pods) {
    assert.equal(items.find((item) => item.id === id)?.state, PodSandboxState.SANDBOX_NOTREADY);
  }
});

test("containers that ran or were to run are exited, 255, Unknown", async () => {
  for (const id of [...expected.running, expected.created]) {
    const { state, exitCode, reason } = await statusOf(id);
    assert.deepEqual(
      { state, exitCode, reason },
      { state: ContainerState.CONTAINER_EXITED, exitCode: 255, reason: "Unknown" },
    );
  }
});

test("a container that had ended keeps its exit code", async () => {
  const { state, exitCode, reason } = await statusOf(expected.exited);
  assert.deepEqual(
    { state, exitCode, reason },
    { state: ContainerState.CONTAINER_EXITED, exitCode: 3, reason: "Error" },
  );
});

test("every address is free again, also that of a pod that nothing was waited for", async () => {
  const deadline = Date.now() + 120_000;
  while (takenAddresses().length > 0) {
    assert.ok(Date.now() < deadline, `still taken: ${takenAddresses().join(", ")}`);
    await sleep(50);
  }
});

test("the image is there without its registry, and runs in a new pod", async () => {
  const { client } = node;
  const { image } = await client.image.imageStatus({ image: { image: expected.image } });
  assert.ok(image !== undefined);
  const config = podConfig();
  const { podSandboxId } = await client.runtime.runPodSandbox({ config });
  const { containerId } = await client.runtime.createContainer({
    podSandboxId,
    sandboxConfig: config,
    config: {
      metadata: { name: "new", attempt: 0 },
      image: { image: expected.image },
      command: ["/bin/sleep", "100000"],
      linux: {
        securityContext: {
          namespaceOptions: config.linux?.securityContext?.namespaceOptions ?? {},
        },
      },
    },
  });
  await client.runtime.startContainer({ containerId });
  assert.equal((await statusOf(containerId)).state, ContainerState.CONTAINER_RUNNING);
});

test("everything can be removed, and nothing stays", async () => {
  const { client } = node;
  const { items } = await client.runtime.listPodSandbox({});
  for (const { id } of items) {
    await client.runtime.stopPodSandbox({ podSandboxId: id });
    await client.runtime.removePodSandbox({ podSandboxId: id });
  }
  assert.deepEqual((await client.runtime.listContainers({})).containers, []);
  assert.deepEqual(takenAddresses(), []);
  assert.deepEqual(readdirSync("/disk/root/roots"), []);
});
