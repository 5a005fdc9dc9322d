import { messageOf } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { ConfigError, loadConfig } from "../../config/load.ts";
import type { UpgradeReport } from "../../doctor/index.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { printable } from "../output/printable.ts";
import { configOption, findConfigFile } from "./config-file.ts";

/** `davit upgrade-check`. */
export const upgradeCheck: Command = {
  name: "upgrade-check",
  section: "Server",
  summary: "Check whether this version can take over this node, and what it would convert",
  details:
    "Run it by the new version, before the daemon of the old one is stopped. It reads the configuration, the\n" +
    "records and the layout of the disk, and changes nothing. It says what the first start would convert, and\n" +
    "what an earlier version cannot read afterwards. The exit code is 1 if this version would not start, or\n" +
    "would not manage everything.",
  operands: [],
  options: {
    config: configOption,
    from: {
      value: "DIRECTORY",
      doc: "Root directory to look at, for example a copy, instead of that of the configuration",
      complete: "file",
    },
  },
  examples: [
    { line: "davit upgrade-check", does: "Check this node" },
    { line: "davit upgrade-check --from /backup/davit", does: "Check a copy of another node" },
  ],
  run,
};

async function run({ options, terminal, version }: Call): Promise<number> {
  const { examineUpgrade } = await import("../../doctor/index.ts");
  const configFile = findConfigFile(options.text("config"));
  const { config, configProblems } = readConfig(configFile);
  const root = options.text("from") ?? config?.root ?? "/var/lib/davit";
  const report = examineUpgrade({ root, config, configFile, configProblems, version });
  terminal.out(formatReport(report, version, terminal));
  return report.problems.length === 0 ? exitCode.done : exitCode.failed;
}

function readConfig(file: string | undefined): {
  readonly config: Config | undefined;
  readonly configProblems: readonly string[];
} {
  try {
    return { config: loadConfig(file), configProblems: [] };
  } catch (error) {
    const configProblems = error instanceof ConfigError ? error.lines : [messageOf(error)];
    return { config: undefined, configProblems };
  }
}

function formatReport(
  { problems, changes, facts }: UpgradeReport,
  version: string,
  { style }: Call["terminal"],
): string {
  const lines = [
    ...facts.map((text) => `  ${style.green("ok")}       ${printable(text)}`),
    ...changes.map((text) => `  ${style.yellow("changes")}  ${printable(text)}`),
    ...problems.map((text) => `  ${style.red("problem")}  ${printable(text)}`),
    problems.length === 0
      ? `davit ${version} can take over this node.`
      : `davit ${version} cannot take over this node as it is.`,
  ];
  return `${lines.join("\n")}\n`;
}
