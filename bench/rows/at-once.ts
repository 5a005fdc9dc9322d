/** Many pods at the same time, and the latency of other calls meanwhile. */
import { setTimeout as sleep } from "node:timers/promises";
import { prepareLog, startContainer } from "../containers.ts";
import { withBusybox } from "../images.ts";
import { watchedDavit } from "../loop-watch.ts";
import {
  alternate,
  type Bench,
  type Row,
  type RowGroup,
  Samples,
  type Side,
  sidesOf,
} from "../row.ts";
import { percentile, timed } from "../statistics.ts";

const pingIntervalMs = 5;
const burstPods = 50;

type Figure = "8 pods" | "8" | "50" | "ping";

export const atOnce: RowGroup = {
  name: "at-once",
  withRivals: true,
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<Figure>();
  const some = Math.max(5, Math.ceil(bench.rounds / 3));
  for (const side of sidesOf(bench)) await burst(side, 8, image);
  await alternate(bench, some, async (side) => {
    samples.add(side, "8 pods", await burst(side, 8, image));
  });
  await alternate(bench, some, async (side) => {
    samples.add(side, "8", await burst(side, 8));
  });
  await alternate(bench, Math.max(3, Math.ceil(bench.rounds / 15)), async (side) => {
    samples.add(side, "50", await burst(side, burstPods));
  });
  await alternate(bench, 3, async (side) => {
    samples.add(side, "ping", await pingDelayMs(side));
  });
  const delays = { sandboxes: [] as number[], pods: [] as number[] };
  await watchedDavit(bench, async (loopDelayMs) => {
    const bursts = Math.max(3, Math.ceil(bench.rounds / 10));
    for (let round = 0; round < bursts; round++) {
      await loopDelayMs();
      await burst(bench.davit, burstPods);
      delays.sandboxes.push(await loopDelayMs());
      await burst(bench.davit, burstPods, image);
      delays.pods.push(await loopDelayMs());
    }
  });
  return rows(bench, samples, delays);
}

function rows(
  bench: Bench,
  samples: Samples<Figure>,
  delays: { readonly sandboxes: readonly number[]; readonly pods: readonly number[] },
): readonly Row[] {
  const loop = (what: string, davit: readonly number[]): Row => ({
    title: `event-loop delay p99, ${burstPods} ${what} at once`,
    unit: "ms",
    peer: [],
    davit,
    budget: { of: "p50", atMost: 10 },
    note: "monitorEventLoopDelay inside davit, 1 ms resolution subtracted; start and end of the pods",
  });
  return [
    {
      title: "8 pods at once, all up",
      unit: "ms",
      ...samples.of(bench, "8 pods"),
      budget: { of: "ratio", atMost: 0.25 },
      note: "each with a container that runs, from the first call to the last answer",
    },
    { title: "8 sandboxes at once, all ready", unit: "ms", ...samples.of(bench, "8") },
    { title: `${burstPods} sandboxes at once, all ready`, unit: "ms", ...samples.of(bench, "50") },
    {
      title: `Version during ${burstPods} at once: p99 above idle`,
      unit: "ms",
      ...samples.of(bench, "ping"),
      note: `asked every ${pingIntervalMs} ms from outside, so the wait for a CPU counts; 3 bursts`,
    },
    loop("sandboxes", delays.sandboxes),
    loop("pods with a container", delays.pods),
  ];
}

/**
 * Time from the first call to the last answer; every pod is checked, and all are gone after it. With
 * an image each pod has a container that runs.
 */
async function burst(side: Side, count: number, image?: string): Promise<number> {
  const { pods } = side;
  const prepared = await Promise.all(Array.from({ length: count }, () => pods.prepare()));
  for (const pod of prepared) await prepareLog(pod);
  await sleep(300);
  let running: Awaited<ReturnType<typeof pods.run>>[] = [];
  const ms = await timed(async () => {
    running = await Promise.all(
      prepared.map(async (each) => {
        const pod = await pods.run(each);
        if (image !== undefined) await startContainer(side, pod, image);
        return pod;
      }),
    );
  });
  for (const pod of running) await pods.check(pod);
  await pods.clear(running);
  await sleep(300);
  return ms;
}

/** p99 of Version while pods start, less p99 of Version on an idle server. */
async function pingDelayMs(side: Side): Promise<number> {
  const idle = await pinged(side, () => sleep(1000));
  const busy = await pinged(side, () => burstOnly(side));
  return percentile(busy, 0.99) - percentile(idle, 0.99);
}

async function burstOnly(side: Side): Promise<() => Promise<void>> {
  const { pods } = side;
  const prepared = await Promise.all(Array.from({ length: burstPods }, () => pods.prepare()));
  const running = await Promise.all(prepared.map((pod) => pods.run(pod)));
  return () => pods.clear(running);
}

/** Latencies of Version, asked at a fixed pace whether or not the last one was answered. */
async function pinged(
  side: Side,
  work: () => Promise<(() => Promise<void>) | undefined>,
): Promise<readonly number[]> {
  const latencies: Promise<number>[] = [];
  const ask = (): void => {
    latencies.push(timed(() => side.server.client.runtime.version({})));
  };
  const timer = setInterval(ask, pingIntervalMs);
  const after = await work();
  clearInterval(timer);
  const result = await Promise.all(latencies);
  await after?.();
  return result;
}
