/**
 * What a plugin of the node (NRI) costs the start of a container: the same davit without a plugin, with one that
 * subscribes to CreateContainer and answers at once, and with one that answers with an adjustment.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { startContainer } from "../containers.ts";
import { withBusybox } from "../images.ts";
import { MeasuredPlugin, type Order } from "../measured-plugin.ts";
import type { Bench, Row, RowGroup, Side } from "../row.ts";

const restMs = 50;
const warmRounds = 3;
/** The most that a container may run later because of a plugin. */
const budgetMs = 1.5;

const orders: readonly Order[] = ["disconnect", "answer", "adjust"];

export const nri: RowGroup = {
  name: "nri",
  measure: async (bench) => {
    const { nriSocket } = bench.davit.server;
    // A build of davit from before NRI.
    if (nriSocket === undefined) return [];
    await using plugin = new MeasuredPlugin(bench.davit.server, nriSocket);
    return await withBusybox(bench, (image) => measure(bench, plugin, image));
  },
};

async function measure(bench: Bench, plugin: MeasuredPlugin, image: string) {
  const samples = new Map<Order, number[]>(orders.map((order) => [order, []]));
  for (let round = -warmRounds; round < bench.rounds; round++) {
    bench.say(round < 0 ? "warm-up" : `round ${round + 1} of ${bench.rounds}`);
    // Each order is the first one equally often.
    const first = (round + warmRounds) % orders.length;
    for (const order of [...orders.slice(first), ...orders.slice(0, first)]) {
      await plugin.tell(order);
      const ms = await life(bench.davit, image);
      if (round >= 0) samples.get(order)?.push(ms);
    }
  }
  await plugin.tell("disconnect");
  const of = (order: Order): readonly number[] => samples.get(order) ?? [];
  const without = of("disconnect");
  const added = (order: Order): readonly number[] =>
    of(order).map((ms, at) => ms - (without[at] ?? Number.NaN));
  const row = (title: string, davit: readonly number[], more: Partial<Row> = {}): Row => ({
    title: `NRI plugin: ${title}`,
    unit: "ms",
    peer: [],
    davit,
    ...more,
  });
  const note = "the difference of each round, of the same davit";
  return [
    row("the three without one", without),
    row("the three with one that gets CreateContainer and answers at once", of("answer")),
    row("what that adds to the three", added("answer"), {
      budget: { of: "p50", atMost: budgetMs },
      note,
    }),
    row("what one that sets a variable adds to the three", added("adjust"), { note }),
  ];
}

/** A pod with a container; from RunPodSandbox to the running process, in milliseconds. */
async function life(side: Side, image: string): Promise<number> {
  const { pods, server } = side;
  const prepared = await pods.prepare();
  await sleep(restMs);
  const pod = await pods.run(prepared);
  const { containerId, ms } = await startContainer(side, pod, image);
  await server.client.runtime.stopContainer({ containerId, timeout: 0n });
  await pods.clear([pod]);
  await sleep(restMs);
  return pod.runMs + ms;
}
