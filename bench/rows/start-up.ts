/** From the start of a server without pods to its first answer, until it can run pods, and until its first pod runs. */
import { setTimeout as sleep } from "node:timers/promises";
import { alternate, type RowGroup, Samples, type Side } from "../row.ts";
import type { Server } from "../server.ts";

const readyTimeoutMs = 30_000;

export const startUp: RowGroup = {
  name: "start-up",
  measure: async (bench) => {
    const samples = new Samples<"start" | "ready" | "pod">();
    await alternate(bench, Math.max(5, Math.ceil(bench.rounds / 3)), async (side) => {
      await side.server.stop();
      const startMs = await side.server.start();
      samples.add(side, "start", startMs);
      samples.add(side, "ready", startMs + (await waitForReady(side.server)));
      samples.add(side, "pod", await firstPod(side));
    });
    return [
      {
        title: "start of the server to its first answer",
        unit: "ms",
        ...samples.of(bench, "start"),
        budget: { of: "p50", atMost: 150 },
        note: "Version answered OK; no pods, files in the page cache",
      },
      {
        title: "start of the server until it takes pods",
        unit: "ms",
        ...samples.of(bench, "ready"),
        note: "the same starts, ListPodSandbox answered OK",
      },
      {
        title: "start of the server to its first pod",
        unit: "ms",
        ...samples.of(bench, "pod"),
        budget: { of: "ratio", atMost: 1.2 },
        note: "starts of their own, RunPodSandbox answered OK",
      },
    ];
  },
};

/** From the start of a server until it has answered RunPodSandbox; milliseconds. */
async function firstPod({ server, pods }: Side): Promise<number> {
  const prepared = await pods.prepare();
  await server.stop();
  const startMs = await server.start();
  let clear = async (): Promise<void> => undefined;
  const ms = await untilDone(server, async () => {
    const pod = await pods.run(prepared);
    clear = () => pods.clear([pod]);
  });
  await clear();
  return startMs + ms;
}

/** Waits until a server that was started serves more than Version; how long that took, in milliseconds. */
function waitForReady(server: Server): Promise<number> {
  return untilDone(server, () => server.client.runtime.listPodSandbox({}, { timeoutMs: 5000 }));
}

/** Tries until `work` succeeds; how long that took, in milliseconds. */
async function untilDone({ name }: Server, work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  for (;;) {
    try {
      await work();
      return performance.now() - begin;
    } catch (error) {
      if (performance.now() - begin < readyTimeoutMs) await sleep(1);
      else throw new Error(`${name} is not ready`, { cause: error });
    }
  }
}
