/** One pod with one container after another: from RunPodSandbox to a running process, and back. */
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { openDemoRegistry } from "../../src/cli/demo/registry.ts";
import {
  type ContainerConfigSchema,
  ContainerState,
  NamespaceMode,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { RunningPod } from "../pods.ts";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { timed } from "../statistics.ts";

const restMs = 50;
const statsContainers = 20;
const statsRounds = 15;
const sampleMs = 1_100;
const memoryLimitBytes = 128n << 20n;

type Verb = "create-start" | "three" | "exec" | "stop" | "remove" | "stats";

export const containers: RowGroup = {
  name: "containers",
  measure: async (bench) => {
    await using registry = await openDemoRegistry();
    // Both servers speak plain HTTP to loopback.
    const image = `${registry.url.replace("http://", "")}/busybox:bench`;
    for (const side of [bench.peer, bench.davit]) await pull(side, image);
    const samples = new Samples<Verb>();
    const warm = new Samples<Verb>();
    await alternate(bench, 3, (side) => life(side, warm, image));
    await alternate(bench, bench.rounds, (side) => life(side, samples, image));
    for (const side of [bench.peer, bench.davit]) await stats(side, samples, image, bench.rounds);
    return [
      row(bench, samples, "create-start", "CreateContainer + StartContainer", 0.65),
      row(bench, samples, "three", "the three together, to a running process", 0.45),
      row(bench, samples, "exec", "ExecSync(true)", 0.6),
      row(bench, samples, "stop", "StopContainer(0)", 0.25),
      {
        title: "RemoveContainer",
        unit: "ms",
        ...samples.of(bench, "remove"),
      },
      row(
        bench,
        samples,
        "stats",
        `ListContainerStats of ${String(statsContainers)} containers`,
        0.1,
      ),
    ];
  },
};

async function pull({ server }: Side, image: string): Promise<void> {
  await server.client.image.pullImage({ image: { image } }, { timeoutMs: 60_000 });
}

async function life(side: Side, samples: Samples<Verb>, image: string): Promise<void> {
  const { pods, server } = side;
  const prepared = await pods.prepare();
  await sleep(restMs);
  const pod = await pods.run(prepared);
  const { containerId, ms } = await start(side, pod, image);
  samples.add(side, "create-start", ms);
  samples.add(side, "three", pod.runMs + ms);
  await sleep(restMs);
  const exec = { containerId, cmd: ["/bin/busybox", "true"], timeout: 10n };
  samples.add(side, "exec", await timed(() => server.client.runtime.execSync(exec)));
  await sleep(restMs);
  const stop = { containerId, timeout: 0n };
  samples.add(side, "stop", await timed(() => server.client.runtime.stopContainer(stop)));
  await sleep(restMs);
  samples.add(
    side,
    "remove",
    await timed(() => server.client.runtime.removeContainer({ containerId })),
  );
  await pods.stop(pod);
  await pods.remove(pod);
  await pods.release(pod);
  await sleep(restMs);
}

/** Creates and starts a container, and makes sure that its process runs. */
async function start(
  { server }: Side,
  pod: RunningPod,
  image: string,
): Promise<{ readonly containerId: string; readonly ms: number }> {
  const { runtime } = server.client;
  const config = containerConfig(image);
  await mkdir(path.join(pod.config.logDirectory, "main"), { recursive: true });
  let containerId = "";
  const ms = await timed(async () => {
    const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
    ({ containerId } = await runtime.createContainer(request));
    await runtime.startContainer({ containerId });
  });
  const { status } = await runtime.containerStatus({ containerId });
  assert.equal(
    status?.state,
    ContainerState.CONTAINER_RUNNING,
    `${server.name}: ${status?.reason ?? ""}`,
  );
  return { containerId, ms };
}

function containerConfig(image: string): MessageInitShape<typeof ContainerConfigSchema> {
  return {
    metadata: { name: "main" },
    image: { image },
    command: ["/bin/busybox", "sleep", "3600"],
    logPath: "main/0.log",
    linux: {
      resources: {
        cpuShares: 256n,
        cpuPeriod: 100_000n,
        cpuQuota: 50_000n,
        memoryLimitInBytes: memoryLimitBytes,
      },
      securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } },
    },
  };
}

async function stats(
  side: Side,
  samples: Samples<Verb>,
  image: string,
  rounds: number,
): Promise<void> {
  const { runtime } = side.server.client;
  const pods = await side.pods.fill(statsContainers);
  const ids: string[] = [];
  for (const pod of pods) ids.push((await start(side, pod, image)).containerId);
  for (let round = 0; round < Math.min(rounds, statsRounds); round++) {
    // Longer than davit keeps a sample: each call reads every cgroup anew.
    await sleep(sampleMs);
    let count = 0;
    const ms = await timed(async () => {
      count = (await runtime.listContainerStats({})).stats.length;
    });
    assert.equal(count, statsContainers);
    samples.add(side, "stats", ms);
  }
  for (const containerId of ids) {
    await runtime.stopContainer({ containerId, timeout: 0n });
    await runtime.removeContainer({ containerId });
  }
  await side.pods.clear(pods);
}

function row(bench: Bench, samples: Samples<Verb>, verb: Verb, title: string, atMost: number): Row {
  return { title, unit: "ms", ...samples.of(bench, verb), budget: { of: "ratio", atMost } };
}
