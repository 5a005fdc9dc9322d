/** Times of pods on this machine's cgroups, to compare v1 with v2 on the same kernel: medians in milliseconds. */
import { existsSync } from "node:fs";
import { busyboxLayer, imageOf } from "../../support/images.ts";
import { podConfig } from "../../support/pod.ts";
import { TestDaemon } from "../../support/daemon.ts";
import { TestRegistry } from "../../support/registry.ts";

const image = "registry.k8s.io/e2e/busybox:1";
const rounds = 12;
const times = new Map<string, number[]>();

async function timed<T>(what: string, action: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await action();
  times.set(what, [...(times.get(what) ?? []), performance.now() - begin]);
  return result;
}

await using registry = await TestRegistry.start();
await registry.push("e2e/busybox", imageOf([busyboxLayer()], { Env: ["PATH=/bin"] }), ["1"]);
const config = { images: { registry_config_path: registry.certsDir } };
await using daemon = await TestDaemon.start({ config, readyTimeoutMs: 120_000 });
const { runtime } = daemon.client;
await daemon.client.image.pullImage({ image: { image } });

// The first rounds compile what all use.
for (let round = 0; round < rounds + 3; round++) {
  if (round === 3) times.clear();
  const sandboxConfig = podConfig();
  const { podSandboxId } = await timed("RunPodSandbox", () =>
    runtime.runPodSandbox({ config: sandboxConfig }),
  );
  const { containerId } = await timed("CreateContainer", () =>
    runtime.createContainer({
      podSandboxId,
      sandboxConfig,
      config: {
        metadata: { name: "c", attempt: 0 },
        image: { image },
        command: ["/bin/sleep", "100000"],
        linux: { resources: { memoryLimitInBytes: 64n << 20n } },
      },
    }),
  );
  await timed("StartContainer", () => runtime.startContainer({ containerId }));
  await timed("ExecSync", () => runtime.execSync({ containerId, cmd: ["/bin/true"] }));
  await timed("ListContainerStats", () => runtime.listContainerStats({}));
  await timed("StopContainer, timeout 0", () => runtime.stopContainer({ containerId }));
  await timed("StopPodSandbox", () => runtime.stopPodSandbox({ podSandboxId }));
  await timed("RemovePodSandbox", () => runtime.removePodSandbox({ podSandboxId }));
}
const version = existsSync("/sys/fs/cgroup/cgroup.controllers") ? "v2" : "v1";
for (const [what, all] of times) {
  const sorted = all.toSorted((a, b) => a - b);
  const [least = 0, median = 0] = [sorted[0], sorted[Math.floor(sorted.length / 2)]];
  process.stdout.write(
    `compare: ${version} ${what}: least ${least.toFixed(0)}, median ${median.toFixed(0)} ms\n`,
  );
}
process.stdout.write(`\n1 passed, 0 failed, 0 skipped\n`);
