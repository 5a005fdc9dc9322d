/**
 * The same pods with each of davit's handlers: with a monitor, and with Debian's runc v2 shim, which containerd uses for
 * all of its pods. The OCI runtime is the same crun everywhere.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fillWithContainers, startContainer } from "../containers.ts";
import { shimHandler } from "../davit.ts";
import { withBusybox } from "../images.ts";
import type { RunningPod } from "../pods.ts";
import { pssKib } from "../procfs.ts";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";
import { timed } from "../statistics.ts";

const restMs = 50;
const memoryRestMs = 3_000;
const podCounts = [10, 40] as const;

/** A server's pods by one handler. */
interface Way {
  readonly side: Side;
  readonly handler: string;
  readonly title: string;
}

const verbs = ["run", "create-start", "three", "stop", "memory"] as const;
type Verb = (typeof verbs)[number];

const titles: Readonly<Record<Verb, string>> = {
  run: "RunPodSandbox",
  "create-start": "CreateContainer + StartContainer",
  three: "the three together, to a running process",
  stop: "StopContainer(0)",
  memory: `memory a pod with a container, slope from ${podCounts.join(" to ")}`,
};

export const shims: RowGroup = {
  name: "shims",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const own: readonly Way[] = [
    { side: bench.davit, handler: "", title: "by the monitor" },
    { side: bench.davit, handler: shimHandler, title: "by the runc v2 shim" },
  ];
  const ways: readonly Way[] = [{ side: bench.peer, handler: "", title: "" }, ...own];
  const samples = new Samples<string>();
  const warm = new Samples<string>();
  const lives = (rounds: number, into: Samples<string>): Promise<void> =>
    alternate(bench, rounds, async (side) => {
      for (const way of ways) if (way.side === side) await life(way, into, image);
    });
  await lives(2, warm);
  await lives(Math.max(5, Math.ceil(bench.rounds / 2)), samples);
  for (const way of ways) {
    bench.say(`memory of ${way.side.server.name} ${way.title}`);
    samples.add(way.side, key(way, "memory"), await memoryAPod(way, image));
  }
  return own.flatMap((way) => verbs.map((verb) => row(bench, samples, way, verb)));
}

const key = ({ handler }: Way, verb: Verb): string => `${handler} ${verb}`;

async function life(way: Way, samples: Samples<string>, image: string): Promise<void> {
  const { side, handler } = way;
  const { pods, server } = side;
  const prepared = await pods.prepare();
  await sleep(restMs);
  const pod = await pods.run(prepared, handler);
  const { containerId, ms } = await startContainer(side, pod, image);
  samples.add(side, key(way, "run"), pod.runMs);
  samples.add(side, key(way, "create-start"), ms);
  samples.add(side, key(way, "three"), pod.runMs + ms);
  await sleep(restMs);
  const stop = { containerId, timeout: 0n };
  const stopMs = await timed(() => server.client.runtime.stopContainer(stop));
  samples.add(side, key(way, "stop"), stopMs);
  await pods.clear([pod]);
  await sleep(restMs);
}

/** The memory of each pod in all processes of the server, with its shims and monitors; MB. */
async function memoryAPod({ side, handler }: Way, image: string): Promise<number> {
  await side.server.stop();
  await side.server.start();
  const pods: RunningPod[] = [];
  const sizes: number[] = [];
  for (const count of podCounts) {
    pods.push(...(await fillWithContainers(side, count - pods.length, image, handler)));
    await sleep(memoryRestMs);
    sizes.push(pssKib(side.server.processes()) / 1024);
  }
  await side.pods.clear(pods);
  const [few = Number.NaN, many = Number.NaN] = sizes;
  return (many - few) / (podCounts[1] - podCounts[0]);
}

function row(bench: Bench, samples: Samples<string>, way: Way, verb: Verb): Row {
  const { peer } = samples.of(bench, key({ ...way, handler: "" }, verb));
  const { davit } = samples.of(bench, key(way, verb));
  const isMemory = verb === "memory";
  return {
    title: `pods ${way.title}: ${titles[verb]}`,
    unit: isMemory ? "MB" : "ms",
    peer,
    davit,
    ...(isMemory && { note: `PSS of all processes, ${String(memoryRestMs / 1000)} s idle` }),
  };
}
