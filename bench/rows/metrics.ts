/** What kubelet asks with the feature gate PodAndContainerStatsFromCRI, beside what it asks without. */
import { setTimeout as sleep } from "node:timers/promises";
import { fillWithContainers } from "../containers.ts";
import { withBusybox } from "../images.ts";
import { callOnce } from "../load.ts";
import type { Bench, Row, RowGroup } from "../row.ts";
import { percentile } from "../statistics.ts";

const podCount = 200;
/**
 * Longer than a sample of the stats is used again. Those of the metrics are 5 s and 10 s old at most, so about two of
 * three calls read something. kubelet's interval is 10 s.
 */
const intervalMs = 1_100;

/** davit alone: containerd 1.7 has no ListPodSandboxMetrics. */
export const metrics: RowGroup = {
  name: "metrics",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

const methods = [
  ["stats", "ListContainerStats"],
  ["metrics", "ListPodSandboxMetrics"],
] as const;

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  bench.say(`${podCount} pods with a container`);
  const pods = await fillWithContainers(bench.davit, podCount, image);
  const took = { stats: [] as number[], metrics: [] as number[] };
  for (let round = 0; round < bench.rounds; round++) {
    bench.say(`round ${round + 1} of ${bench.rounds}`);
    for (const [name, method] of methods) {
      await sleep(intervalMs);
      const ms = await callOnce(bench.davit.server.socket, method);
      if (round > 0) took[name].push(ms); // the first one opens the files
    }
  }
  await bench.davit.pods.clear(pods);
  const times = percentile(took.metrics, 0.5) / percentile(took.stats, 0.5);
  return [
    { title: `ListContainerStats, ${podCount} pods`, unit: "ms", peer: [], davit: took.stats },
    {
      title: `ListPodSandboxMetrics, ${podCount} pods`,
      unit: "ms",
      peer: [],
      davit: took.metrics,
      note: "a call every 1.1 s, in turn with ListContainerStats, to the last byte of the answer",
    },
    {
      title: `ListPodSandboxMetrics by ListContainerStats, ${podCount} pods`,
      unit: "x",
      peer: [],
      davit: [times],
      budget: { of: "p50", atMost: 2 },
    },
  ];
}
