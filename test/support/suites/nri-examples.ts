/** The example plugins of the SDK on a runtime: the ulimit adjuster started by it, the device injector from outside. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import type { CriClient } from "../../../src/client/cri-client.ts";
import { type EventName, plugin, type PodRequest, update } from "../../../src/nri/index.ts";
import { container } from "./containers.ts";
import { bare, cgroupsThere, parentOf, until } from "./pods.ts";

const examples = path.resolve(import.meta.dirname, "../../../examples/nri");

/** The events of a pod with one container that is not updated by a client. */
const eventsOfContainer = [
  "runPodSandbox",
  "createContainer",
  "postCreateContainer",
  "startContainer",
  "postStartContainer",
  "stopContainer",
  "removeContainer",
  "stopPodSandbox",
  "removePodSandbox",
] as const satisfies readonly EventName[];

/** A runtime that has the image `busybox`. */
export interface RuntimeWithPlugins {
  readonly client: CriClient;
  readonly nriSocket: string;
  /** Whether containers are adjusted by the plugin that registered as this. */
  readonly isConnected: (plugin: string) => boolean | Promise<boolean>;
}

/** Writes the ulimit adjuster into a directory of plugins that a runtime starts, as its user would. */
export function installAdjuster(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const example = path.join(examples, "ulimit-adjuster.ts");
  const script = `#!/bin/sh\nexec ${process.execPath} ${example}\n`;
  writeFileSync(path.join(directory, "15-ulimits"), script, { mode: 0o755 });
}

/** Tests of a runtime that was started with the ulimit adjuster. `directory` is for files of the tests. */
export function exampleTests(runtime: () => RuntimeWithPlugins, directory: string): void {
  let injector: ChildProcess;

  before(async () => {
    const program = path.join(examples, "device-injector.ts");
    const args = [program, runtime().nriSocket];
    injector = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
    for (const plugin of ["15-ulimits", "10-device-injector"]) {
      await until(`${plugin} is connected`, () => runtime().isConnected(plugin), 60_000);
    }
  });
  after(async () => {
    const exited = once(injector, "exit");
    injector.kill();
    await exited;
  });

  test("the examples change containers by annotations of their pod", async () => {
    writeFileSync(path.join(directory, "model"), "llama");
    const annotations = {
      "ulimits.nri.containerd.io/container.app": "- type: nofile\n  soft: 512\n  hard: 1000\n",
      "devices.nri.io/container.app":
        "- path: /dev/kernel-log\n  type: c\n  major: 1\n  minor: 11\n  file_mode: 0o640\n",
      "mounts.noderesource.dev/pod": `- source: ${directory}/model\n  destination: /model\n  options: [bind, ro]\n`,
    };
    const script =
      "grep 'open files' /proc/1/limits; stat -c '%a %t:%T' /dev/kernel-log; cat /model";
    const lines = (await output(runtime().client, annotations, script)).split("\n");
    assert.match(lines[0] ?? "", /^Max open files +512 +1000 /);
    assert.deepEqual(lines.slice(1), ["640 1:b", "llama"]);
  });

  test("a plugin gets every event of a container, and limits it by itself", async () => {
    const { client, nriSocket, isConnected } = runtime();
    const seen: string[] = [];
    const note =
      (name: EventName) =>
      ({ pod }: PodRequest) => {
        if (pod.annotations["witness"] === "yes") seen.push(name);
      };
    const handlers = Object.fromEntries(eventsOfContainer.map((name) => [name, note(name)]));
    const witness = plugin({ ...handlers, name: "witness", index: 90 });
    await witness.connect(nriSocket);
    try {
      await until("the witness is connected", () => isConnected("90-witness"));
      await withContainer(client, { witness: "yes" }, async (id) => {
        assert.deepEqual(await witness.updateContainers([update(id).memoryLimit(96 << 20)]), []);
        const file = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max";
        const limit = await shell(client, id, `cat ${file} 2>/dev/null; true`);
        assert.equal(limit.trim(), String(96 << 20));
      });
      assert.deepEqual(seen.toSorted(), eventsOfContainer.toSorted());
    } finally {
      witness.close();
    }
  });

  test("what an example refuses is the reason why the container is not created", async () => {
    const annotations = { "ulimits.noderesource.dev/container.app": "- type: files\n" };
    // davit quotes the reason.
    const reason =
      /annotation \\?"ulimits.noderesource.dev\/container.app\\?": rlimit: \\?"RLIMIT_FILES\\?" is not/;
    await assert.rejects(output(runtime().client, annotations, "true"), { message: reason });
  });
}

/** Runs a container in a pod with these annotations and returns what a script in it prints. */
async function output(
  client: CriClient,
  annotations: Readonly<Record<string, string>>,
  script: string,
): Promise<string> {
  let printed = "";
  await withContainer(client, annotations, async (id) => {
    printed = await shell(client, id, script);
  });
  return printed;
}

/** Runs a container in a pod with these annotations during `use`. */
async function withContainer(
  { runtime }: CriClient,
  annotations: Readonly<Record<string, string>>,
  use: (containerId: string) => Promise<void>,
): Promise<void> {
  const config = bare({ annotations });
  const namespaceOptions = config.linux?.securityContext?.namespaceOptions;
  assert.ok(namespaceOptions);
  const { podSandboxId } = await runtime.runPodSandbox({ config });
  try {
    const { containerId } = await runtime.createContainer({
      podSandboxId,
      config: container({
        metadata: { name: "app", attempt: 0 },
        linux: { securityContext: { namespaceOptions } },
      }),
      sandboxConfig: config,
    });
    await runtime.startContainer({ containerId });
    await use(containerId);
  } finally {
    await runtime.stopPodSandbox({ podSandboxId });
    await runtime.removePodSandbox({ podSandboxId });
    // As kubelet does: containerd leaves the pod's cgroup, which its client names.
    for (const cgroup of cgroupsThere(parentOf(config))) rmdirSync(cgroup);
  }
}

async function shell(client: CriClient, containerId: string, script: string): Promise<string> {
  const cmd = ["/bin/sh", "-c", script];
  const { stdout, stderr } = await client.runtime.execSync({ containerId, cmd, timeout: 30n });
  return Buffer.from(stdout).toString() + Buffer.from(stderr).toString();
}
