import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import type { Command } from "../command-line/command.ts";

/** `davit serve-attached`, which Davit.start() of the SDK runs: a server that ends with the program that started it. */
export const serveAttached: Command = {
  name: "serve-attached",
  section: "Server",
  summary: "Run a server of its own until stdin ends, and remove everything at the end",
  details:
    "Reads one line of JSON from stdin: network, root and config, as in Davit.start() (docs/sdk.md). Prints one\n" +
    "line of JSON with the address when it is ready. When stdin ends, or at a signal, it removes its pods, its\n" +
    "bridge and its directories, and ends.",
  operands: [],
  options: {},
  examples: [
    {
      line: 'echo \'{"network":"none"}\' | davit serve-attached',
      does: "Start a server and end it at once",
    },
  ],
  hidden: true,
  run: async ({ terminal, version }) => {
    if (process.geteuid?.() !== 0) {
      throw new RuntimeError(
        "permission-denied",
        "start a server: namespaces, mounts and cgroups require root; run the program as root",
      );
    }
    process.umask(0o022);
    const { serveAttached: serve } = await import("../attached/run.ts");
    return await serve({ terminal, version });
  },
};
