/** A node with 500 pods: lists, stats, the restart, what an idle server costs, and its memory. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { fillWithContainers } from "../containers.ts";
import { withBusybox } from "../images.ts";
import { callOnce } from "../load.ts";
import { cpuWithChildrenMs, pssKib } from "../procfs.ts";
import { removePods } from "../rivals.ts";
import { type Bench, type Row, type RowGroup, Samples, type Side, sidesOf } from "../row.ts";
import { untilReady } from "./restart.ts";

const podCount = 500;
const settleMs = 10_000;
const idleMs = 30_000;
const relistMs = 1_000;
/** Longer than davit keeps a sample of the stats. */
const intervalMs = 1_100;
const restMs = 2_000;
const lists = ["ListPodSandbox", "ListContainers", "ListContainerStats"] as const;

type Figure = (typeof lists)[number] | "fill" | "idle" | "relisted" | "memory" | "restart";

export const many: RowGroup = {
  name: "many",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<Figure>();
  const failures: string[] = [];
  for (const side of sidesOf(bench)) {
    try {
      await measureSide(bench, side, samples, image);
    } catch (error) {
      // Another server that does not bear so many pods must not take the figures of davit along.
      if (side === bench.davit) throw error;
      failures.push(
        `${side.server.name} failed: ${error instanceof Error ? error.message : String(error)}`,
      );
      await removePods(side);
    }
  }
  const note = `a running container each, one server after the other; ${settleMs / 1000} s after the last start`;
  const row = (title: string, unit: string, figure: Figure, its?: string): Row => {
    const notes = [...(its === undefined ? [] : [its]), ...failures];
    return {
      title: `${podCount} pods: ${title}`,
      unit,
      ...samples.of(bench, figure),
      ...(notes.length > 0 && { note: notes.join("; ") }),
    };
  };
  return [
    row("until all run, 4 at a time", "s", "fill"),
    ...lists.map((name) => row(name, "ms", name)),
    row("idle", "% CPU", "idle", `${note}; all processes of the server, for ${idleMs / 1000} s`),
    row(
      "listed each second",
      "% CPU",
      "relisted",
      "the same with a client that lists pods and containers",
    ),
    row("memory of the daemon alone", "MB", "memory", "PSS, after the rows above"),
    row("restart, until ready", "ms", "restart"),
  ];
}

async function measureSide(
  bench: Bench,
  side: Side,
  samples: Samples<Figure>,
  image: string,
): Promise<void> {
  const { server } = side;
  await server.stop();
  await server.start();
  const say = (what: string): void => {
    bench.say(`${server.name} with ${podCount} pods: ${what}`);
  };
  say("start");
  const begin = performance.now();
  const pods = await fillWithContainers(side, podCount, image);
  samples.add(side, "fill", (performance.now() - begin) / 1000);
  await sleep(settleMs);
  say("idle");
  samples.add(side, "idle", await cpuPercent(side, () => sleep(idleMs)));
  samples.add(side, "relisted", await cpuPercent(side, () => relist(side)));
  for (let round = 0; round < Math.max(5, Math.ceil(bench.rounds / 5)); round++) {
    say(`lists, round ${round + 1}`);
    await sleep(intervalMs);
    for (const name of lists) samples.add(side, name, await callOnce(server.socket, name));
  }
  samples.add(side, "memory", pssKib([server.main]) / 1024);
  for (let round = 0; round < 3; round++) {
    say(`restart ${round + 1}`);
    await server.stop();
    await sleep(restMs);
    samples.add(side, "restart", await untilReady(side, podCount));
    await sleep(restMs);
  }
  say("end");
  await side.pods.clear(pods);
}

/** The processor time of all processes of a server while `work` lasts, in percent of one processor. */
async function cpuPercent({ server }: Side, work: () => Promise<void>): Promise<number> {
  const processes = server.processes();
  const [cpu, begin] = [cpuWithChildrenMs(processes), performance.now()];
  await work();
  return ((cpuWithChildrenMs(processes) - cpu) / (performance.now() - begin)) * 100;
}

/** Lists pods and containers once a second, as a kubelet does. */
async function relist({ server }: Side): Promise<void> {
  const { runtime } = server.client;
  for (const end = performance.now() + idleMs; performance.now() < end; ) {
    const { items } = await runtime.listPodSandbox({});
    const { containers } = await runtime.listContainers({});
    assert.deepEqual([items.length, containers.length], [podCount, podCount], server.name);
    await sleep(relistMs);
  }
}
