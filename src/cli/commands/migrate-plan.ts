import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { configOption, findConfigFile, loadConfigOrPrintErrors } from "./config-file.ts";

/** `davit migrate plan`. */
export const migratePlan: Command = {
  name: "migrate plan",
  section: "Server",
  summary: "Print the steps that move this node from another runtime to davit, and back",
  details:
    "Reads kubelet's files, asks the runtime's socket for pods and images, compares CNI directories and disk space,\n" +
    "and prints the commands of each step. Nothing changes.",
  operands: [],
  options: {
    from: {
      value: "RUNTIME",
      doc: "containerd or crio (default: the one that kubelet uses)",
      complete: ["containerd", "crio"],
    },
    config: configOption,
  },
  examples: [{ line: "davit migrate plan", does: "Print what to do on this node" }],
  run: async ({ options, terminal }) => {
    const from = options.text("from");
    if (from !== undefined && from !== "containerd" && from !== "crio") {
      throw new UsageError(`--from is "${from}": must be containerd or crio`, migratePlan);
    }
    const config = loadConfigOrPrintErrors(findConfigFile(options.text("config")), terminal);
    if (config === undefined) return exitCode.failed;
    const { NodeFiles } = await import("../import-config/node-files.ts");
    const { examineNode } = await import("../migrate/examine-node.ts");
    const { formatPlan } = await import("../migrate/plan.ts");
    terminal.out(formatPlan(await examineNode(new NodeFiles(), config, from)));
    return exitCode.done;
  },
};
