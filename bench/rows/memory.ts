/** Memory of all processes of each server and of the kernel, by the number of its sandboxes and pods. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fillWithContainers } from "../containers.ts";
import { pullImage, withBusybox } from "../images.ts";
import { observe, observedConfig, startCollector } from "../observers.ts";
import type { RunningPod } from "../pods.ts";
import { pssKib } from "../procfs.ts";
import {
  type Bench,
  type Row,
  type RowGroup,
  Samples,
  type Side,
  sidesOf,
  type Values,
} from "../row.ts";
import { percentile } from "../statistics.ts";

const sandboxCounts = [0, 10, 20, 60];
const podCounts = [10, 20, 60, 110];
const restMs = 3000;
const slabs = ["SUnreclaim", "SReclaimable"] as const;
const observedPods = 110;
/** Metrics are scraped three times meanwhile. */
const observedRestMs = 30_000;
/** Apart from that of `--observed`. */
const metricsAddress = "127.0.0.1:9472";

export const memory: RowGroup = {
  name: "memory",
  withRivals: true,
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

/** davit alone, with everything on that watches a node. */
export const observed: RowGroup = {
  name: "observed",
  measure: (bench) => withBusybox(bench, (image) => measureObserved(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<string>();
  for (const side of sidesOf(bench)) {
    const fill = (count: number): Promise<readonly RunningPod[]> => side.pods.fill(count);
    await grow(bench, side, samples, { what: "sandboxes", counts: sandboxCounts, fill });
    const fillPods = (count: number): Promise<readonly RunningPod[]> =>
      fillWithContainers(side, count, image);
    await grow(bench, side, samples, { what: "pods", counts: podCounts, fill: fillPods });
  }
  const slope = (of: string, from: number, to: number): Values => {
    const [few, many] = [samples.of(bench, `${from} ${of}`), samples.of(bench, `${to} ${of}`)];
    const between = (a: readonly number[] = [], b: readonly number[] = []): readonly number[] => [
      (percentile(b, 0.5) - percentile(a, 0.5)) / (to - from),
    ];
    const rivals = Object.entries(few.rivals ?? {}).map(
      ([name, values]) => [name, between(values, many.rivals?.[name])] as const,
    );
    return {
      peer: between(few.peer, many.peer),
      davit: between(few.davit, many.davit),
      rivals: Object.fromEntries(rivals),
    };
  };
  const rowOf = (of: string, atMost: number, note: string): Row => ({
    title: `memory with ${of}`,
    unit: "MB",
    ...samples.of(bench, of),
    budget: { of: "ratio", atMost },
    note,
  });
  const note = "PSS of all its processes, fresh start, 3 s idle";
  const containersToo = `${note}; a running container each, which counts on both sides`;
  return [
    ...[0, 20, 60].map((n) => rowOf(`${n} sandboxes`, 1, note)),
    rowOf("20 pods", 1, containersToo),
    rowOf("110 pods", 0.1, containersToo),
    {
      title: "memory a sandbox, slope from 10 to 60",
      unit: "MB",
      ...slope("sandboxes", 10, 60),
      budget: { of: "ratio", atMost: 0.1 },
    },
    {
      title: "memory a pod with a container, slope from 20 to 110",
      unit: "MB",
      ...slope("pods", 20, 110),
      budget: { of: "p50", atMost: 0.6 },
    },
    ...slabs.map(
      (name): Row => ({
        title: `memory of the kernel a pod with a container, slope of ${name} from 10 to 60`,
        unit: "KB",
        ...slope(`pods, ${name}`, 10, 60),
        note: "slab of the whole machine (proc_meminfo(5)), so that other programs count too",
      }),
    ),
  ];
}

async function measureObserved(bench: Bench, image: string): Promise<readonly Row[]> {
  await using collector = await startCollector();
  const more = observedConfig(collector, metricsAddress);
  await using davit = await bench.startDavit({ name: "observed", more });
  const observers = observe(davit.server, metricsAddress);
  const samples: number[] = [];
  await pullImage(davit, image);
  const pods = await fillWithContainers(davit, observedPods, image);
  bench.say(`idle for ${observedRestMs / 1000} s`);
  for (let look = 0; look < 3; look++) {
    await sleep(observedRestMs / 3);
    samples.push(pssKib([davit.server.main]) / 1024);
  }
  await davit.pods.clear(pods);
  const seen = await observers.stop();
  return [
    {
      title: `memory of the daemon alone with ${observedPods} pods, observed`,
      unit: "MB",
      peer: [],
      davit: samples,
      budget: { of: "p50", atMost: 70 },
      note: `PSS, ${observedRestMs / 1000} s idle; metrics that were scraped ${seen.scrapes} times, traces of 1 % of the calls, and two readers of events on`,
    },
  ];
}

/** Starts the server again, if the bench runs it, and measures it with more and more pods, which it removes afterwards. */
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
  if (!bench.rivals.includes(side)) {
    await side.server.stop();
    await side.server.start();
  }
  const pods: RunningPod[] = [];
  for (const count of by.counts) {
    bench.say(`${side.server.name} with ${count} ${by.what}`);
    pods.push(...(await by.fill(count - pods.length)));
    for (let look = 0; look < 3; look++) {
      await sleep(restMs / 3);
      samples.add(side, `${count} ${by.what}`, pssKib(side.server.processes()) / 1024);
      for (const name of slabs) samples.add(side, `${count} ${by.what}, ${name}`, slabKib(name));
    }
  }
  await side.pods.clear(pods);
}

function slabKib(name: (typeof slabs)[number]): number {
  const [, kib] =
    new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  return Number(kib);
}
