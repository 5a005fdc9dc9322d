/** What davit keeps after a thousand pods with cancelled, repeated and cut calls: memory, descriptors, latency. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import { DaemonMemory } from "../../test/support/daemon-memory.ts";
import { Churn } from "../../test/support/churn.ts";
import { chooseSeed, Random } from "../../test/support/random.ts";
import { withBusybox } from "../images.ts";
import type { PreparedPod } from "../pods.ts";
import type { Bench, Row, RowGroup } from "../row.ts";
import { percentile } from "../statistics.ts";

const podsPerRound = 20;
const parallel = 8;
const sampleCount = 20;
const calmLives = 50;
const quietPatienceMs = 30_000;
/** Longer than a create whose caller went away is held for its retry (davit.ts). */
const heldPatienceMs = 30_000;
const facts = ["inflight", "unfinishedRemovals", "pendingNetworkRemovals"];

interface Sample {
  readonly pods: number;
  /** Objects in use, and memory that the process keeps, after a full collection. Bytes. */
  readonly heap: number;
  readonly resident: number;
  readonly fds: number;
}

export const churn: RowGroup = {
  name: "churn",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const seed = chooseSeed();
  const total = bench.rounds * podsPerRound;
  const step = Math.max(1, Math.round(total / sampleCount));
  const { server } = bench.davit;
  await server.stop();
  await server.start();
  await calmRuns(bench); // warms up
  const first = await calmRuns(bench);
  const prepared: PreparedPod[] = [];
  const run = new Churn({
    client: server.client,
    random: new Random(seed),
    image,
    podConfig: (_, at): PodSandboxConfig => {
      const pod = prepared[at];
      if (pod === undefined) throw new Error(`pod ${at} is not prepared`);
      return pod.config;
    },
  });
  using memory = await DaemonMemory.attach(server.mainPid);
  const seen: Sample[] = [];
  const quiet: number[] = [];
  for (let pods = 0; pods < total; ) {
    const count = Math.min(step, total - pods);
    for (let at = 0; at < count; at++) prepared.push(await bench.davit.pods.prepare());
    await run.lives(count, parallel);
    pods += count;
    bench.say(`${pods} of ${total} pods, seed ${seed}`);
    quiet.push(await msUntilQuiet(bench, facts, quietPatienceMs));
    // A create that is held for a retry is not a leak: the sample waits until none is held.
    await msUntilQuiet(bench, [...facts, "heldCreates"], heldPatienceMs);
    const fds = readdirSync(path.join("/proc", String(server.mainPid), "fd")).length;
    seen.push({ pods, ...(await memory.use()), fds });
  }
  // Not while the last ones are timed: the kernel removes a thousand cgroups in the background.
  for (const pod of prepared) await bench.davit.pods.release(pod);
  await calmRuns(bench); // as before the first ones
  const last = await calmRuns(bench);
  const wrong = run.ledger.violations;
  if (wrong.length > 0) throw new Error(`churn, seed ${seed}:\n${wrong.join("\n")}`);
  return rows({ seen, quiet, first, last, note: `${total} pods, 8 at a time, seed ${seed}` });
}

function rows(of: {
  readonly seen: readonly Sample[];
  readonly quiet: readonly number[];
  readonly first: readonly number[];
  readonly last: readonly number[];
  readonly note: string;
}): readonly Row[] {
  const { first, last, note } = of;
  const second = of.seen.slice(Math.floor(of.seen.length / 2));
  const own = (title: string, unit: string, davit: readonly number[], atMost: number): Row => ({
    title,
    unit,
    peer: [],
    davit,
    budget: { of: "p50", atMost },
  });
  const half = "slope of the second half";
  const growth = percentile(last, 0.99) / percentile(first, 0.99);
  return [
    {
      ...own(`churn: memory a pod, ${half}`, "KB", [slope(second, "resident") / 1024], 32),
      note: `RssAnon of the daemon after a collection; ${note}: short deadlines, cancelled and repeated calls, stops and removals in between; measured when no create is kept for a retry`,
    },
    own(`churn: heap a pod, ${half}`, "KB", [slope(second, "heap") / 1024], 0.5),
    own(`churn: descriptors a pod, ${half}`, "fds", [slope(second, "fds")], 0.01),
    {
      ...own("churn: nothing left to delete after", "ms", of.quiet, 2_000),
      note: "from the last answer until the verbose Status shows neither work nor a removal; creates that are kept for a retry do not count",
    },
    {
      ...own("churn: p99 of RunPodSandbox after by before", "x", [growth], 1.3),
      note: `${calmLives} sandboxes one after another, before the churn and after all of it was removed: p99 ${percentile(first, 0.99).toFixed(1)} and ${percentile(last, 0.99).toFixed(1)} ms`,
    },
  ];
}

/** RunPodSandbox one after another, without trouble; milliseconds. */
async function calmRuns({ davit: { pods } }: Bench): Promise<readonly number[]> {
  const times: number[] = [];
  for (let life = 0; life < calmLives; life++) {
    const pod = await pods.run(await pods.prepare());
    times.push(pod.runMs);
    await pods.stop(pod);
    await pods.remove(pod);
    await pods.release(pod);
    await sleep(20);
  }
  return times;
}

/** How long it takes until these facts of the verbose Status are empty. */
async function msUntilQuiet(
  { davit: { server } }: Bench,
  empty: readonly string[],
  patienceMs: number,
): Promise<number> {
  const begin = performance.now();
  for (;;) {
    const { info } = await server.client.runtime.status({ verbose: true });
    const ms = performance.now() - begin;
    if (empty.every((fact) => info[fact] === "[]")) return ms;
    if (ms > patienceMs) throw new Error(`churn: still to do: ${JSON.stringify(info)}`);
    await sleep(5);
  }
}

/** What a pod adds, by the line that fits best (least squares). */
function slope(points: readonly Sample[], of: "heap" | "resident" | "fds"): number {
  const mean = (value: (sample: Sample) => number): number =>
    points.reduce((sum, sample) => sum + value(sample), 0) / points.length;
  const x = mean(({ pods }) => pods);
  const y = mean((sample) => sample[of]);
  const xy = points.reduce((sum, sample) => sum + (sample.pods - x) * (sample[of] - y), 0);
  return xy / points.reduce((sum, sample) => sum + (sample.pods - x) ** 2, 0);
}
