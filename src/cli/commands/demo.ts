import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import type { Command } from "../command-line/command.ts";

/** `davit demo`, which `npm start` runs: a server of its own, with one pod from a manifest in it. */
export const demo: Command = {
  name: "demo",
  section: "The server",
  summary: "Run a Pod manifest in a server of its own, and take all of it down at the end",
  details:
    "Uses /run/davit-demo, /var/lib/davit-demo and the bridge davit-demo0, and touches no other\n" +
    "server. Ctrl-C ends it.",
  operands: [{ name: "FILE", complete: "file" }],
  options: {
    once: { doc: "End after the first second of the containers' log" },
  },
  examples: [
    {
      line: "davit demo examples/hello.yaml",
      does: "Run the pod, print its status and log, keep serving",
    },
  ],
  hidden: true,
  run: async ({ options, operands, terminal, version }) => {
    if (process.geteuid?.() !== 0) {
      throw new RuntimeError("permission-denied", "start the demo: it must run as root");
    }
    const { runDemo } = await import("../demo/run.ts");
    const [file = ""] = operands;
    return await runDemo({ file, once: options.has("once"), terminal, version });
  },
};
