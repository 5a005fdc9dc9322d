import { readFileSync, readSync } from "node:fs";
import { hostname, totalmem } from "node:os";
import type { Call, Command, OptionSpec } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { defaultPodsDirectory } from "../../client/pods/pods-directory.ts";
import {
  ManifestError,
  type NodeInfo,
  parsePodManifests,
  parsePodNames,
  type PodManifest,
  type PodNames,
} from "../../manifest/index.ts";

/** The option of commands that store files of pods. */
export const podsDirectoryOption = {
  value: "DIRECTORY",
  doc: "Directory for logs and emptyDir volumes (default /var/lib/davit-run)",
  formerName: "pods-folder",
  complete: "file",
} as const satisfies OptionSpec;

/** The option for files, as in kubectl; they can also be operands. */
export const fileOption = {
  short: "f",
  value: "FILE",
  many: true,
  doc: "Manifest file, same as the operand FILE (repeatable)",
  complete: "file",
} as const satisfies OptionSpec;

/** The manifest files of a call. Throws a UsageError if there are none. */
export function filesOf(call: Call, command: Command): readonly string[] {
  const files = [...call.operands, ...call.options.texts("file")];
  if (files.length === 0) throw new UsageError("FILE is missing", command);
  return files;
}

/** The directory for logs and emptyDir volumes of pods. */
export function podsRootOf({ options }: Call): string {
  return options.text("pods-directory") ?? defaultPodsDirectory;
}

/** The facts about this machine that requests depend on. */
export function thisNode(podsRoot: string): NodeInfo {
  return {
    podsRoot,
    resolvConf: readText("/etc/resolv.conf", ""),
    nodeName: hostname(),
    memoryBytes: totalmem(),
  };
}

/** Reads the Pods of these files; "-" is stdin. The error contains all problems of all files. */
export function readPods(files: readonly string[], node: NodeInfo): readonly PodManifest[] {
  const pods = readAll(files, (text, name) => parsePodManifests(text, name, node));
  for (const [at, { name, namespace }] of pods.entries()) {
    const isDuplicate = pods
      .slice(0, at)
      .some((pod) => pod.name === name && pod.namespace === namespace);
    if (isDuplicate) {
      throw new CommandFailure(
        exitCode.usage,
        `read pod manifests: duplicate pod "${namespace}/${name}"; rename or remove one`,
      );
    }
  }
  return pods;
}

/** As `readPods`, but only the names of the Pods; other fields are ignored. */
export function readPodNames(files: readonly string[]): readonly PodNames[] {
  return readAll(files, parsePodNames);
}

function readAll<T>(
  files: readonly string[],
  parse: (text: string, name: string) => readonly T[],
): readonly T[] {
  const found: T[] = [];
  const errors: string[] = [];
  for (const file of files) {
    try {
      found.push(...parse(readText(file), file === "-" ? "stdin" : file));
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      errors.push(error.message);
    }
  }
  if (errors.length === 0) return found;
  throw new CommandFailure(
    exitCode.usage,
    `read pod manifests: invalid, nothing was done:\n${errors.join("\n")}`,
  );
}

function readText(file: string, otherwise?: string): string {
  try {
    return file === "-" ? readStdin() : readFileSync(file, "utf8");
  } catch (cause) {
    if (otherwise !== undefined) return otherwise;
    const { message } = systemError(`read pod manifest "${file}"`, cause);
    throw new CommandFailure(exitCode.usage, message, { cause });
  }
}

const eagainPauseMs = 10;

/**
 * Reads stdin to its end. NOTE(node): importing node:process makes a pipe at stdin non-blocking, so a read
 * fails with EAGAIN until its writer has written something.
 */
function readStdin(): string {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk = Buffer.allocUnsafe(65_536);
    try {
      const length = readSync(0, chunk);
      if (length === 0) return Buffer.concat(chunks).toString();
      chunks.push(chunk.subarray(0, length));
    } catch (error) {
      if (errnoCode(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, eagainPauseMs);
    }
  }
}
