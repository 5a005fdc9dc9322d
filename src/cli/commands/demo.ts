import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import type { Command } from "../command-line/command.ts";

/** `davit demo`, which `npm start` runs: a separate server that runs the pods of a manifest. */
export const demo: Command = {
  name: "demo",
  section: "Server",
  summary: "Run a Pod manifest on a temporary server, and remove everything at the end",
  details:
    "Uses /run/davit-demo, /var/lib/davit-demo and the bridge davit-demo0, and does not affect other\n" +
    "servers. Press Ctrl-C to stop it.",
  operands: [{ name: "FILE", complete: "file" }],
  options: {
    once: { doc: "Stop after showing the log of the containers for one second" },
  },
  examples: [
    {
      line: "davit demo examples/hello.yaml",
      does: "Run the pod, show its status and follow its log",
    },
  ],
  hidden: true,
  run: async ({ options, operands, terminal, version }) => {
    if (process.geteuid?.() !== 0) {
      throw new RuntimeError(
        "permission-denied",
        "start the demo: permission denied; run it as root",
      );
    }
    const { runDemo } = await import("../demo/run.ts");
    const [file = ""] = operands;
    return await runDemo({ file, once: options.has("once"), terminal, version });
  },
};
