import path from "node:path";
import { ConfigError } from "../../config/load.ts";
import type { Rival } from "../import-config/import-config.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { printable } from "../output/printable.ts";

const options = {
  output: { short: "o", value: "FILE", doc: "Write to FILE instead of stdout", complete: "file" },
  force: { short: "f", doc: "Overwrite files" },
  root: { value: "DIR", doc: "The node's root directory, if not /", complete: "file" },
} as const;

const details =
  "Prints only what differs from davit's defaults, each key with the file and the key that it is from, and a\n" +
  "comment for each key without a counterpart. The result is validated. Nothing of the other runtime changes.";

/** `davit config import containerd`. */
export const configImportContainerd: Command = {
  name: "config import containerd",
  section: "Server",
  summary: "Make a configuration from that of containerd",
  details: `${details}\nFILE defaults to /etc/containerd/config.toml; its imports are read, too. Versions 1 to 4.`,
  operands: [{ name: "FILE", optional: true, complete: "file" }],
  options: {
    ...options,
    "certs-dir": {
      value: "DIR",
      doc: "Write mirrors of config.toml to DIR, and credentials beside it",
      complete: "file",
    },
  },
  examples: [
    {
      line: "davit config import containerd -o /etc/davit/davit.toml",
      does: "Configure davit like the containerd of this node",
    },
    {
      line: "davit config import containerd --certs-dir /etc/davit/certs.d config.toml",
      does: "Also write the mirrors that config.toml has",
    },
  ],
  run: (call) => run(call, "containerd"),
};

/** `davit config import crio`. */
export const configImportCrio: Command = {
  name: "config import crio",
  section: "Server",
  summary: "Make a configuration from that of CRI-O",
  details: `${details}\nPATH is crio.conf, whose drop-ins are in crio.conf.d, or a directory with both; it defaults to\n/etc/crio/crio.conf. storage.conf is read, too; davit itself reads registries.conf and policy.json.`,
  operands: [{ name: "PATH", optional: true, complete: "file" }],
  options,
  examples: [{ line: "davit config import crio", does: "Print what davit would need" }],
  run: (call) => run(call, "crio"),
};

async function run(call: Call, rival: Rival): Promise<number> {
  const { terminal } = call;
  const command = rival === "crio" ? configImportCrio : configImportContainerd;
  const certs = call.options.text("certs-dir");
  const output = call.options.text("output");
  const { importConfig, defaultFiles } = await import("../import-config/import-config.ts");
  const { NodeFiles } = await import("../import-config/node-files.ts");
  const { writeFiles } = await import("../import-config/write-files.ts");
  const root = call.options.text("root");
  const files = new NodeFiles(root === undefined ? "/" : path.resolve(root));
  const [operand] = call.operands;
  if (root !== undefined && operand !== undefined && !path.isAbsolute(operand)) {
    throw new UsageError(`"${operand}" is not an absolute path, which --root requires`, command);
  }
  const main = operand === undefined ? defaultFiles[rival] : path.resolve(operand);
  let imported;
  try {
    const directory = certs === undefined ? undefined : path.resolve(certs);
    imported = importConfig(rival, files, main, directory);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) terminal.err(`${printable(line)}\n`);
    return exitCode.failed;
  }
  const { text } = imported;
  const own = output === undefined ? [] : [{ name: path.resolve(output), text }];
  const written = writeFiles([...own, ...imported.files], call.options.has("force"));
  if (output === undefined) terminal.out(text);
  for (const name of written) terminal.err(`wrote ${printable(name)}\n`);
  const counts = `${imported.settings} settings, ${imported.notes} keys without a counterpart`;
  terminal.err(`${output ?? "the configuration"}: ok (${counts})\n`);
  return exitCode.done;
}
