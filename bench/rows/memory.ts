/** Memory of all processes of each server, by the number of its sandboxes. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningPod } from "../pods.ts";
import { pssKib } from "../procfs.ts";
import { type Row, type RowGroup, Samples } from "../row.ts";
import { percentile } from "../statistics.ts";

const counts = [0, 10, 20, 60];
const restMs = 3000;

export const memory: RowGroup = {
  name: "memory",
  measure: async (bench) => {
    const samples = new Samples<string>();
    for (const side of [bench.peer, bench.davit]) {
      await side.server.stop();
      await side.server.start();
      const pods: RunningPod[] = [];
      for (const count of counts) {
        bench.say(`${side.server.name} with ${count} sandboxes`);
        pods.push(...(await side.pods.fill(count - pods.length)));
        for (let look = 0; look < 3; look++) {
          await sleep(restMs / 3);
          samples.add(side, String(count), pssKib(side.server.pids()) / 1024);
        }
      }
      await side.pods.clear(pods);
    }
    const at = (count: number): Pick<Row, "peer" | "davit"> => samples.of(bench, String(count));
    const slope = (side: "peer" | "davit"): number =>
      (percentile(at(60)[side], 0.5) - percentile(at(10)[side], 0.5)) / 50;
    return [
      ...[0, 20, 60].map(
        (count): Row => ({
          title: `memory with ${count} sandboxes`,
          unit: "MB",
          ...at(count),
          budget: { of: "ratio", atMost: 1 },
          note: "PSS of all its processes, fresh start, 3 s at rest",
        }),
      ),
      {
        title: "memory a sandbox, slope from 10 to 60",
        unit: "MB",
        peer: [slope("peer")],
        davit: [slope("davit")],
        budget: { of: "ratio", atMost: 0.1 },
      },
    ];
  },
};
