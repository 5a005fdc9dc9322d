import { existsSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { messageOf } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError, defaultConfig, loadConfig } from "../../config/load.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import type { Report } from "../../doctor/index.ts";
import { countFindings, formatReport, reportToJson } from "../output/doctor-report.ts";
import { onStopSignals } from "../stop-signals.ts";
import { configOption, findConfigFile } from "./config-file.ts";

/** `davit doctor`. */
export const doctor: Command = {
  name: "doctor",
  section: "Server",
  summary: "Check this machine for everything that davit needs",
  details:
    "Does not need a running daemon. Run it as root, so that it can probe an overlay mount, iptables\n" +
    "and the pod network in scratch namespaces, which it removes afterwards. Each finding has its reason\n" +
    "and its fix; see docs/doctor.md. The exit code is 1 if there are errors; warnings and notes do not\n" +
    "count.",
  operands: [],
  options: {
    config: configOption,
    only: {
      value: "CHECK",
      many: true,
      doc: "Run only this group of checks, by its name in parentheses (repeatable)",
    },
    fix: { doc: "Apply the safe fixes without asking, then check again" },
    registries: { doc: "Check whether the registries with a hosts.toml respond" },
    image: {
      value: "IMAGE",
      many: true,
      doc: "Resolve this image at its registry without pulling it (repeatable)",
      complete: "image",
    },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "Output format",
      complete: ["table", "json"],
    },
  },
  examples: [
    { line: "davit doctor", does: "Run all checks" },
    { line: "davit doctor --fix", does: "Run all checks and apply the safe fixes" },
    { line: "davit doctor --only network --only disk", does: "Run two groups of checks" },
    { line: "davit doctor --image busybox:1.37", does: "Check whether an image can be pulled" },
  ],
  run,
};

async function run(call: Call): Promise<number> {
  const { options, version } = call;
  // Imported here, so that other commands do not load the drivers.
  const { checks, examine, ThisHost } = await import("../../doctor/index.ts");
  using signals = onStopSignals((signal) => process.exit(128 + constants.signals[signal]));
  const only = options.texts("only");
  const names = checks.map(({ group }) => group);
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw options.invalid("only", `is "${unknown}": must be one of ${names.join(", ")}`);
  }
  const images = options.texts("image");
  const selected = checks.filter(({ group }) => only.length === 0 || only.includes(group));
  const report = await examine(
    {
      host: new ThisHost(signals.signal),
      ...readConfig(options.text("config")),
      version,
      probeRegistries: options.has("registries"),
      images,
    },
    { checks: selected, fix: options.has("fix") && !signals.signal.aborted },
  );
  print(call, report);
  const code = signals.signal.aborted
    ? exitCode.interrupted
    : countFindings(report).error > 0
      ? exitCode.failed
      : exitCode.done;
  if (report.timedOut) await exitByExec(code);
  return code;
}

function print({ options, terminal }: Call, report: Report): void {
  terminal.out(
    options.text("output") === "json"
      ? `${JSON.stringify(reportToJson(report), undefined, 2)}\n`
      : formatReport(report, terminal.style, terminal.live ? terminal.columns() : undefined),
  );
}

function readConfig(named: string | undefined): {
  readonly config: Config;
  readonly configFile: string | undefined;
  readonly configProblems: readonly string[];
} {
  const configFile = findConfigFile(named);
  try {
    return { config: loadConfig(configFile), configFile, configProblems: [] };
  } catch (error) {
    const configProblems = error instanceof ConfigError ? error.lines : [messageOf(error)];
    return { config: defaultConfig(), configFile, configProblems };
  }
}

/**
 * Ends the process although a thread of the pool hangs in the kernel (a dead network mount) and exit(3)
 * would wait for it: execve(2) ends all threads.
 */
async function exitByExec(code: number): Promise<void> {
  const { promise: written, resolve } = Promise.withResolvers<undefined>();
  process.stdout.write("", () => resolve(undefined));
  await written;
  const shell = "/bin/sh";
  if (existsSync(shell)) process.execve?.(shell, ["sh", "-c", `exit ${code}`], {});
}
