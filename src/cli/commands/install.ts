import { existsSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import type { Call, Command, OptionSpec } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { onStopSignals } from "../stop-signals.ts";

/** The option for the tree of another machine. */
export const rootOption: OptionSpec = {
  value: "DIRECTORY",
  doc: "Work on the files of another machine, in this directory; runs no commands",
  complete: "file",
};

/** `davit install`. */
export const install: Command = {
  name: "install",
  section: "Server",
  summary: "Set this node up: service, configuration, network, crictl",
  details:
    "Writes what is missing, and nothing over the files of others: the unit, which starts this davit, the\n" +
    "configuration, a network for pods unless the node or its cluster has one, crictl.yaml, and a link on the\n" +
    "PATH. Then it enables the service. A failure or Ctrl-C undoes what this run has made. A second run changes\n" +
    "nothing; after an upgrade it updates the files that nobody has changed, and names the others. Checks the\n" +
    "machine first, as davit doctor does. See docs/operations.md.",
  operands: [],
  options: {
    now: { doc: "Start the service, too" },
    "dry-run": { doc: "Print what would be done, and change nothing" },
    network: {
      value: "WHICH",
      doc: "Network of pods; auto is a bridge, unless kubelet is here",
      complete: ["auto", "bridge", "none"],
    },
    force: { doc: "Install although a check has found an error" },
    root: rootOption,
  },
  examples: [
    { line: "davit install --dry-run", does: "Print what would be done" },
    { line: "davit install --now", does: "Set the node up, and start davit" },
  ],
  run,
};

async function run(call: Call): Promise<number> {
  const { options, terminal, version } = call;
  const root = requireRoot(call, "install davit");
  const dryRun = options.has("dry-run");
  if (root === "" && !(await passesChecks(call)) && !options.has("force") && !dryRun) {
    throw new RuntimeError(
      "failed-precondition",
      "install davit: the checks above found errors, and nothing was changed; fix them, or use --force",
    );
  }
  const network = options.text("network") ?? "auto";
  const { install: setUp } = await import("../install/install.ts");
  // A second Ctrl-C ends it at once.
  using signals = onStopSignals((signal) => process.exit(128 + constants.signals[signal]));
  const done = await setUp({
    ...{ root, dryRun, now: options.has("now"), version, terminal, signal: signals.signal },
    network: network === "bridge" || network === "none" ? network : "auto",
  });
  return done ? exitCode.done : exitCode.failed;
}

/** The tree of --root without a slash at its end, or "". Only root may change files of the system. */
export function requireRoot({ options }: Call, doing: string): string {
  const root = (options.text("root") ?? "").replace(/\/+$/, "");
  if (root !== "" && (!root.startsWith("/") || !existsSync(root))) {
    throw options.invalid("root", `is "${root}": must be the absolute path of a directory`);
  }
  if (process.geteuid?.() !== 0 && root === "" && !options.has("dry-run")) {
    throw new RuntimeError("permission-denied", `${doing}: run it as root, or with --dry-run`);
  }
  return root;
}

/** Runs the checks of doctor that do not need a running davit, and prints what they found. */
async function passesChecks({ terminal, version }: Call): Promise<boolean> {
  const { checks, examine, ThisHost } = await import("../../doctor/index.ts");
  const { configIn } = await import("../install/node-facts.ts");
  const { countFindings, formatReport } = await import("../output/doctor-report.ts");
  const groups = ["kernel", "capabilities", "cgroups", "programs", "mounts", "sockets"];
  const report = await examine(
    {
      ...{ host: new ThisHost(new AbortController().signal), config: configIn(""), version },
      ...{ configFile: undefined, configProblems: [], probeRegistries: false, images: [] },
    },
    { checks: checks.filter(({ group }) => groups.includes(group)), fix: false },
  );
  const serious = (severity: string): boolean => ["error", "warning"].includes(severity);
  const shown = report.groups.map((group) => ({
    ...group,
    findings: group.findings.filter(
      ({ severity, id }) => serious(severity) || id === "sockets.other-runtime",
    ),
  }));
  if (shown.some(({ findings }) => findings.length > 0)) {
    const width = terminal.live ? terminal.columns() : undefined;
    const text = formatReport({ ...report, groups: shown }, terminal.style, width);
    // Without its last line, which would count only what is shown.
    terminal.out(`${text.trimEnd().split("\n").slice(0, -1).join("\n")}\n`);
  }
  return countFindings(report).error === 0;
}
