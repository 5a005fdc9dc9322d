/** From the start of a server without pods to its first answer. */
import { alternate, type RowGroup, Samples } from "../row.ts";

export const startUp: RowGroup = {
  name: "start-up",
  measure: async (bench) => {
    const samples = new Samples<"start">();
    await alternate(bench, Math.max(5, Math.ceil(bench.rounds / 3)), async (side) => {
      await side.server.stop();
      samples.add(side, "start", await side.server.start());
    });
    return [
      {
        title: "start of the server to its first answer",
        unit: "ms",
        ...samples.of(bench, "start"),
        budget: { of: "p50", atMost: 150 },
        note: "Version answered OK; no pods, files in the page cache",
      },
    ];
  },
};
