/** The restart of a server while its pods keep running. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { ContainerState } from "../../src/gen/runtime/v1/api_pb.ts";
import { fillWithContainers } from "../containers.ts";
import { withBusybox } from "../images.ts";
import { alternate, type Bench, type Row, type RowGroup, Samples, type Side } from "../row.ts";

const podCount = 100;
const patienceMs = 60_000;
const restMs = 2_000;

export const restart: RowGroup = {
  name: "restart",
  measure: (bench) => withBusybox(bench, (image) => measure(bench, image)),
};

async function measure(bench: Bench, image: string): Promise<readonly Row[]> {
  const samples = new Samples<"ready">();
  const clear: (() => Promise<void>)[] = [];
  for (const side of [bench.peer, bench.davit]) {
    bench.say(`${podCount} pods of ${side.server.name}`);
    const pods = await fillWithContainers(side, podCount, image);
    clear.push(() => side.pods.clear(pods));
  }
  await alternate(bench, Math.max(3, Math.ceil(bench.rounds / 10)), async (side) => {
    await side.server.stop();
    // Work that the end leaves must not count for the start.
    await sleep(restMs);
    samples.add(side, "ready", await untilReady(side, podCount));
    await sleep(restMs);
  });
  for (const step of clear) await step();
  return [
    {
      title: `restart with ${podCount} pods, until ready`,
      unit: "ms",
      ...samples.of(bench, "ready"),
      budget: { of: "p50", atMost: 500 },
      note: "a running container each; from the start to a list in which all of them run",
    },
  ];
}

/** From the start of the process until so many containers are listed, running; milliseconds. */
export async function untilReady(side: Side, containers: number): Promise<number> {
  const begin = performance.now();
  await side.server.start();
  for (;;) {
    const running = await countRunning(side);
    const ms = performance.now() - begin;
    if (running === containers) return ms;
    assert.ok(ms < patienceMs, `${side.server.name}: ${running} of ${containers} containers run`);
    await sleep(1);
  }
}

async function countRunning({ server }: Side): Promise<number> {
  try {
    const { containers } = await server.client.runtime.listContainers({});
    return containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).length;
  } catch {
    return 0; // It answers Version, and is not through with its records yet.
  }
}
