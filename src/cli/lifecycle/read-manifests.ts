import { readFileSync } from "node:fs";
import { hostname, totalmem } from "node:os";
import type { Call, Command, OptionSpec } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { systemError } from "../../base/system-error.ts";
import { ManifestError, parsePodManifests, parsePodNames } from "../../manifest/parse.ts";
import type { PodManifest, PodNames, PodNode } from "../../manifest/pod.ts";

/** The option of commands that keep files for pods. */
export const podsDirectoryOption = {
  value: "DIRECTORY",
  doc: "Where logs and emptyDirs are kept; /var/lib/davit-run without it",
  formerName: "pods-folder",
  complete: "file",
} as const satisfies OptionSpec;

/** Files as kubectl takes them; operands do as well. */
export const fileOption = {
  short: "f",
  value: "FILE",
  many: true,
  doc: "The same as the operand, as kubectl has it",
  complete: "file",
} as const satisfies OptionSpec;

/** The files that a command was given, either way. Throws a UsageError when there are none. */
export function filesOf(call: Call, command: Command): readonly string[] {
  const files = [...call.operands, ...call.options.texts("file")];
  if (files.length === 0) throw new UsageError("FILE is missing", command);
  return files;
}

/** Where davit run keeps what it writes for pods. */
export function podsRootOf({ options }: Call): string {
  return options.text("pods-directory") ?? "/var/lib/davit-run";
}

/** This machine, as far as manifests leave something to it. */
export function thisNode(podsRoot: string): PodNode {
  return {
    podsRoot,
    resolvConf: readText("/etc/resolv.conf", ""),
    nodeName: hostname(),
    memoryBytes: totalmem(),
  };
}

/** The Pods of these files; "-" is stdin. All that is wrong in any of them is told at once. */
export function readPods(files: readonly string[], node: PodNode): readonly PodManifest[] {
  const pods = readAll(files, (text, name) => parsePodManifests(text, name, node));
  for (const [at, { name, namespace }] of pods.entries()) {
    const twice = pods.slice(0, at).some((pod) => pod.name === name && pod.namespace === namespace);
    if (twice) {
      throw new CommandFailure(exitCode.usage, `pod "${namespace}/${name}" is there twice`);
    }
  }
  return pods;
}

/** As `readPods`, but only which Pods they are: other fields may be anything. */
export function readPodNames(files: readonly string[]): readonly PodNames[] {
  return readAll(files, parsePodNames);
}

function readAll<T>(
  files: readonly string[],
  parse: (text: string, name: string) => readonly T[],
): readonly T[] {
  const found: T[] = [];
  const wrong: string[] = [];
  for (const file of files) {
    try {
      found.push(...parse(readText(file), file === "-" ? "stdin" : file));
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      wrong.push(error.message);
    }
  }
  if (wrong.length === 0) return found;
  throw new CommandFailure(exitCode.usage, `nothing was done:\n${wrong.join("\n")}`);
}

function readText(file: string, otherwise?: string): string {
  try {
    // 0: the descriptor of stdin.
    return readFileSync(file === "-" ? 0 : file, "utf8");
  } catch (cause) {
    if (otherwise !== undefined) return otherwise;
    const { message } = systemError(`read pod manifest "${file}"`, cause);
    throw new CommandFailure(exitCode.usage, message, { cause });
  }
}
