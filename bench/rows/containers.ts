/** One pod with one container after another: from RunPodSandbox to a running process, and back. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { startContainer } from "../containers.ts";
import { withBusybox } from "../images.ts";
import {
  alternate,
  type Bench,
  type Row,
  type RowGroup,
  Samples,
  type Side,
  sidesOf,
} from "../row.ts";
import { summarize, timed } from "../statistics.ts";

const restMs = 50;
const statsContainers = 20;
const statsRounds = 15;
const sampleMs = 1_100;

type Verb = "create-start" | "three" | "exec" | "stop" | "remove" | "stats";

export const containers: RowGroup = {
  name: "containers",
  withRivals: true,
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<Verb>();
  const warm = new Samples<Verb>();
  await alternate(bench, 3, (side) => life(side, warm, image));
  await alternate(bench, bench.rounds, (side) => life(side, samples, image));
  for (const side of sidesOf(bench)) await stats(side, samples, image, bench.rounds);
  return [
    row(bench, samples, "create-start", "CreateContainer + StartContainer", 0.65),
    row(bench, samples, "three", "the three together, to a running process", 0.22),
    tail(bench, samples),
    row(bench, samples, "exec", "ExecSync(true)", 0.4),
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
}

async function life(side: Side, samples: Samples<Verb>, image: string): Promise<void> {
  const { pods, server } = side;
  const prepared = await pods.prepare();
  await sleep(restMs);
  const pod = await pods.run(prepared);
  const { containerId, ms } = await startContainer(side, pod, image);
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

async function stats(
  side: Side,
  samples: Samples<Verb>,
  image: string,
  rounds: number,
): Promise<void> {
  const { runtime } = side.server.client;
  const pods = await side.pods.fill(statsContainers);
  const ids: string[] = [];
  for (const pod of pods) ids.push((await startContainer(side, pod, image)).containerId);
  for (let round = 0; round < Math.min(rounds, statsRounds); round++) {
    // Longer than davit keeps a sample: each call reads every cgroup again.
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

/** How far the slow ones are from the usual: p99 divided by p50, each server's own. */
function tail(bench: Bench, samples: Samples<Verb>): Row {
  const share = (values: readonly number[]): readonly number[] => {
    const { p50, p99 } = summarize(values);
    return values.length === 0 ? [] : [p99 / p50];
  };
  const { peer, davit, rivals = {} } = samples.of(bench, "three");
  return {
    title: "the three together: p99 by p50",
    unit: "x",
    peer: share(peer),
    davit: share(davit),
    rivals: Object.fromEntries(
      Object.entries(rivals).map(([name, values]) => [name, share(values)]),
    ),
    budget: { of: "p50", atMost: 2 },
    note: "each server's own p99 and p50",
  };
}
