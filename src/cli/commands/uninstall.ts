import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { requireRoot, rootOption } from "./install.ts";

/** `davit uninstall`. */
export const uninstall: Command = {
  name: "uninstall",
  section: "Server",
  summary: "Remove what davit install made, and with --all everything of davit",
  details:
    "Stops and disables the service, and removes what davit install has made, unless it was changed since.\n" +
    "It refuses while there are pods; --force stops and removes them with their images first. --all also\n" +
    "removes images, records, logs of davit run, the bridge, chains and addresses of davit's network, changed\n" +
    "files and /etc/davit. What other programs made stays, and so does the program itself.",
  operands: [],
  options: {
    force: { short: "f", doc: "Stop and remove pods, containers and images first" },
    all: { doc: "Leave nothing: as --force, and all data, networks and configuration of davit" },
    "dry-run": { doc: "Print what would be removed, and change nothing" },
    root: rootOption,
  },
  examples: [
    { line: "davit uninstall", does: "Remove service and files; images and records stay" },
    { line: "davit uninstall --all --dry-run", does: "Print everything that is davit's" },
  ],
  run,
};

async function run(call: Call): Promise<number> {
  const { options, terminal, version } = call;
  const root = requireRoot(call, "uninstall davit");
  const { uninstall: takeDown } = await import("../install/uninstall.ts");
  const all = options.has("all");
  const done = await takeDown({
    ...{ root, all, version, terminal },
    force: all || options.has("force"),
    dryRun: options.has("dry-run"),
  });
  return done ? exitCode.done : exitCode.failed;
}
