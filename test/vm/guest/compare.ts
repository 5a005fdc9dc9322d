/** Times of pods on this machine's cgroups, to compare v1 with v2 on the same kernel: medians in milliseconds. */
import { existsSync } from "node:fs";
import { NamespaceMode } from "../../../src/gen/runtime/v1/api_pb.ts";
import { podConfig } from "../../support/pod.ts";
import { busybox, Node } from "../../support/suites/containers.ts";

const rounds = 12;
const times = new Map<string, number[]>();

async function timed<T>(what: string, action: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const result = await action();
  times.set(what, [...(times.get(what) ?? []), performance.now() - begin]);
  return result;
}

await using node = await Node.startWithBusybox();
const { runtime } = node.daemon.client;

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
        image: { image: busybox },
        command: ["/bin/sleep", "100000"],
        linux: {
          resources: { memoryLimitInBytes: 64n << 20n },
          securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
        },
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
