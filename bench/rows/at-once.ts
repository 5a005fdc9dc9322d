/** Many sandboxes at once, and how well the server answers others meanwhile. */
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { percentile, timed } from "../statistics.ts";

const pingIntervalMs = 5;
const burstPods = 50;

export const atOnce: RowGroup = {
  name: "at-once",
  measure: async (bench) => {
    const samples = new Samples<"8" | "50" | "ping">();
    await alternate(bench, Math.max(5, Math.ceil(bench.rounds / 5)), async (side) => {
      samples.add(side, "8", await burst(side, 8));
    });
    const loopDelays: number[] = [];
    await alternate(bench, Math.max(3, Math.ceil(bench.rounds / 15)), async (side) => {
      samples.add(side, "50", await burst(side, burstPods));
    });
    await alternate(bench, 3, async (side) => {
      samples.add(side, "ping", await pingDelayMs(side));
    });
    await watchedDavit(bench, async (loopDelayMs) => {
      for (let round = 0; round < 3; round++) {
        await loopDelayMs();
        await burst(bench.davit, burstPods);
        loopDelays.push(await loopDelayMs());
      }
    });
    return rows(bench, samples, loopDelays);
  },
};

function rows(
  bench: Bench,
  samples: Samples<"8" | "50" | "ping">,
  loopDelays: readonly number[],
): readonly Row[] {
  return [
    {
      title: "8 sandboxes at once, all ready",
      unit: "ms",
      ...samples.of(bench, "8"),
      budget: { of: "ratio", atMost: 0.38 },
      note: "sandboxes only; the budget is that of pods with a container",
    },
    { title: `${burstPods} sandboxes at once, all ready`, unit: "ms", ...samples.of(bench, "50") },
    {
      title: `Version during ${burstPods} at once: p99 above idle`,
      unit: "ms",
      ...samples.of(bench, "ping"),
      note: `asked every ${pingIntervalMs} ms from outside, so the wait for a CPU counts; 3 bursts`,
    },
    {
      title: `event-loop delay p99 during ${burstPods} at once`,
      unit: "ms",
      peer: [],
      davit: loopDelays,
      budget: { of: "p50", atMost: 10 },
      note: "monitorEventLoopDelay inside davit, 1 ms resolution subtracted; 3 bursts",
    },
  ];
}

/** Time from the first call to the last answer; every pod is checked, and all are gone after it. */
async function burst(side: Side, count: number): Promise<number> {
  const { pods } = side;
  const prepared = await Promise.all(Array.from({ length: count }, () => pods.prepare()));
  await sleep(300);
  let running: Awaited<ReturnType<typeof pods.run>>[] = [];
  const ms = await timed(async () => {
    running = await Promise.all(prepared.map((pod) => pods.run(pod)));
  });
  for (const pod of running) await pods.check(pod);
  await pods.clear(running);
  await sleep(300);
  return ms;
}

/** p99 of Version while pods start, less p99 of Version at rest. */
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

/** Runs davit with loop-delay.ts inside it, and as before afterwards. */
async function watchedDavit(
  bench: Bench,
  work: (loopDelayMs: () => Promise<number>) => Promise<void>,
): Promise<void> {
  const { server } = bench.davit;
  const file = `/run/${server.name}-loop-delay`;
  await server.stop();
  await server.start({
    NODE_OPTIONS: `--import=${path.join(import.meta.dirname, "../loop-delay.ts")}`,
    DAVIT_BENCH_LOOP_DELAY: file,
  });
  await work(async () => {
    server.signal("SIGUSR2");
    for (let wait = 0; wait < 500; wait++) {
      const text = await readFile(file, "utf8").catch(() => "");
      if (text !== "") {
        await rm(file);
        return Number(text);
      }
      await sleep(10);
    }
    throw new Error("loop-delay.ts does not answer");
  });
  await server.stop();
  await server.start();
}
