import { existsSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { messageOf } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError, defaultConfig, loadConfig } from "../../config/load.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { checks, examine, type Report } from "../../doctor/examine.ts";
import { countFindings, formatReport, reportToJson } from "../output/doctor-report.ts";
import { onStopSignals } from "../stop-signals.ts";
import { DEFAULT_CONFIG_FILE, findConfigFile } from "./config-file.ts";

/** `davit doctor`. */
export const doctor: Command = {
  name: "doctor",
  section: "The server",
  summary: "Look at all that davit needs of this machine, and say what is wrong",
  details:
    "Runs without a daemon, best as root. It tries things out (an overlay mount, iptables and the\n" +
    "pod network in scratch namespaces) and takes them down again. Each finding says why it matters\n" +
    "and how to fix it; docs/doctor.md has them all. Exit code 1 when there is an error; warnings and\n" +
    "notes are no errors.",
  operands: [],
  options: {
    config: {
      value: "FILE",
      doc: `The configuration; without it ${DEFAULT_CONFIG_FILE} if that is there, else the defaults`,
      complete: "file",
    },
    only: {
      value: "CHECK",
      many: true,
      doc: "Only this group, by the name in parentheses; may be given again",
    },
    fix: { doc: "Apply the safe fixes, say what was done, and check again; never asks" },
    registries: { doc: "Ask the registries that have a hosts.toml whether they answer" },
    image: {
      value: "IMAGE",
      many: true,
      doc: "Ask for this image at its registry; pulls nothing",
      complete: "image",
    },
    output: {
      short: "o",
      value: "FORMAT",
      doc: "How to print",
      complete: ["table", "json"],
    },
  },
  examples: [
    { line: "davit doctor", does: "Look at everything" },
    { line: "davit doctor --fix", does: "Apply the safe fixes, too" },
    { line: "davit doctor --only network --only disk", does: "Two groups alone" },
    { line: "davit doctor --image busybox:1.37", does: "Whether its registry answers" },
  ],
  run,
};

async function run(call: Call): Promise<number> {
  const { options, version } = call;
  // Only here, so that the other commands do not wait for the drivers to be read.
  const { ThisHost } = await import("../../doctor/this-host.ts");
  using signals = onStopSignals((signal) => process.exit(128 + constants.signals[signal]));
  const only = options.texts("only");
  const names = checks.map(({ group }) => group);
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw options.wrong("only", `is "${unknown}": there are ${names.join(", ")}`);
  }
  const images = options.texts("image");
  const wanted = checks.filter(({ group }) => only.length === 0 || only.includes(group));
  const report = await examine(
    {
      host: new ThisHost(signals.signal),
      ...readConfig(options.text("config")),
      version,
      askRegistries: options.has("registries"),
      images,
    },
    { checks: wanted, fix: options.has("fix") && !signals.signal.aborted },
  );
  print(call, report);
  const code = signals.signal.aborted
    ? exitCode.interrupted
    : countFindings(report).error > 0
      ? exitCode.failed
      : exitCode.done;
  if (report.isLate) await endAtOnce(code);
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
 * Ends the process although a thread of the pool hangs in the kernel (a dead network mount), which
 * exit(3) would wait for: another program takes its place, and threads end with that (execve(2)).
 */
async function endAtOnce(code: number): Promise<void> {
  const { promise: written, resolve } = Promise.withResolvers<undefined>();
  process.stdout.write("", () => resolve(undefined));
  await written;
  const shell = "/bin/sh";
  if (existsSync(shell)) process.execve?.(shell, ["sh", "-c", `exit ${code}`], {});
}
