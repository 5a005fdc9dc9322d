/** From the start of a server without pods to its first answer, and until it can run pods. */
import { setTimeout as sleep } from "node:timers/promises";
import { alternate, type RowGroup, Samples } from "../row.ts";
import type { Server } from "../server.ts";

const readyTimeoutMs = 30_000;

export const startUp: RowGroup = {
  name: "start-up",
  measure: async (bench) => {
    const samples = new Samples<"start" | "ready">();
    await alternate(bench, Math.max(5, Math.ceil(bench.rounds / 3)), async (side) => {
      await side.server.stop();
      const startMs = await side.server.start();
      samples.add(side, "start", startMs);
      samples.add(side, "ready", startMs + (await waitForReady(side.server)));
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
    ];
  },
};

/** Waits until a server that was started serves more than Version; how long that took, in milliseconds. */
async function waitForReady({ name, client }: Server): Promise<number> {
  const begin = performance.now();
  for (;;) {
    try {
      await client.runtime.listPodSandbox({}, { timeoutMs: 5000 });
      return performance.now() - begin;
    } catch (error) {
      if (performance.now() - begin < readyTimeoutMs) await sleep(1);
      else throw new Error(`${name} is not ready`, { cause: error });
    }
  }
}
