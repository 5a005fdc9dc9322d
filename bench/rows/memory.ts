/** Memory of all processes of each server, by the number of its sandboxes and pods. */
import { setTimeout as sleep } from "node:timers/promises";
import { fillWithContainers } from "../containers.ts";
import { withBusybox } from "../images.ts";
import type { RunningPod } from "../pods.ts";
import { pssKib } from "../procfs.ts";
import { type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { percentile } from "../statistics.ts";

const sandboxCounts = [0, 10, 20, 60];
const podCounts = [20, 110];
const restMs = 3000;

export const memory: RowGroup = {
  name: "memory",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<string>();
  for (const side of [bench.peer, bench.davit]) {
    const fill = (count: number): Promise<readonly RunningPod[]> => side.pods.fill(count);
    await grow(bench, side, samples, { what: "sandboxes", counts: sandboxCounts, fill });
    const fillPods = (count: number): Promise<readonly RunningPod[]> =>
      fillWithContainers(side, count, image);
    await grow(bench, side, samples, { what: "pods", counts: podCounts, fill: fillPods });
  }
  const at = (what: string): Pick<Row, "peer" | "davit"> => samples.of(bench, what);
  const slope = (side: "peer" | "davit"): number =>
    (percentile(at("60 sandboxes")[side], 0.5) - percentile(at("10 sandboxes")[side], 0.5)) / 50;
  const rowOf = (title: string, of: string, note: string): Row => ({
    title,
    unit: "MB",
    ...at(of),
    budget: { of: "ratio", atMost: 1 },
    note,
  });
  const note = "PSS of all its processes, fresh start, 3 s idle";
  const containersToo = `${note}; a running container each, which counts on both sides`;
  return [
    ...[0, 20, 60].map((n) => rowOf(`memory with ${n} sandboxes`, `${n} sandboxes`, note)),
    ...podCounts.map((n) => rowOf(`memory with ${n} pods`, `${n} pods`, containersToo)),
    {
      title: "memory a sandbox, slope from 10 to 60",
      unit: "MB",
      peer: [slope("peer")],
      davit: [slope("davit")],
      budget: { of: "ratio", atMost: 0.1 },
    },
  ];
}

/** Starts the server again, and measures it with more and more pods, which it removes afterwards. */
async function grow(
  bench: Bench,
  side: Side,
  samples: Samples<string>,
  by: {
    readonly what: string;
    readonly counts: readonly number[];
    readonly fill: (count: number) => Promise<readonly RunningPod[]>;
  },
): Promise<void> {
  await side.server.stop();
  await side.server.start();
  const pods: RunningPod[] = [];
  for (const count of by.counts) {
    bench.say(`${side.server.name} with ${count} ${by.what}`);
    pods.push(...(await by.fill(count - pods.length)));
    for (let look = 0; look < 3; look++) {
      await sleep(restMs / 3);
      samples.add(side, `${count} ${by.what}`, pssKib(side.server.pids()) / 1024);
    }
  }
  await side.pods.clear(pods);
}
