import { statSync } from "node:fs";
import { messageOf } from "../../base/errors.ts";
import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { GracePeriodLines } from "../lifecycle/grace.ts";
import {
  fileOption,
  podsDirectoryOption,
  podsRootOf,
  readPodNames,
} from "../lifecycle/read-manifests.ts";
import { stopAndRemovePod } from "../lifecycle/stop.ts";
import { removeOwnDirectory } from "../lifecycle/volumes.ts";
import type { PodNames } from "../../manifest/index.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit down`. */
export const down: Command = {
  name: "down",
  section: "Pods and containers",
  summary: "Stop and remove pods, by manifest or by name",
  details:
    "An operand that is a file, or - for stdin, is a manifest; other operands are pods: NAME,\n" +
    "NAMESPACE/NAME or an id. Removes the pods with their containers, logs and emptyDir volumes, after the\n" +
    "grace period of the containers. It is not an error if a pod of a manifest does not exist. Images are\n" +
    "not removed.",
  operands: [{ name: "FILE|POD", many: true, optional: true, complete: "file-or-pod" }],
  options: {
    time: { short: "t", value: "SECONDS", doc: "Grace period; 0 kills immediately" },
    file: fileOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit down examples/hello.yaml", does: "Remove the pods of a manifest" },
    { line: "davit down hello", does: "Remove a pod by name" },
    { line: "davit down -t 0 web.yaml", does: "Kill the containers immediately" },
  ],
  client: true,
  run: (call) => {
    const { operands, options } = call;
    const files = [...operands.filter(isManifest), ...options.texts("file")];
    const words = operands.filter((word) => !isManifest(word));
    if (files.length + words.length === 0) throw new UsageError("FILE|POD is missing", down);
    const names = files.length === 0 ? [] : readPodNames(files);
    return withServer(call, (server) => downAll(call, server, { names, words: new Set(words) }));
  },
};

/** Whether an operand is a manifest: a file that exists, or a word that looks like a path. */
function isManifest(word: string): boolean {
  if (word === "-") return true;
  const stats = statSync(word, { throwIfNoEntry: false });
  if (stats !== undefined && !stats.isDirectory()) return true;
  return /^(\.{0,2}\/)|\.(ya?ml|json)$/.test(word);
}

async function downAll(
  call: Call,
  server: Server,
  targets: { readonly names: readonly PodNames[]; readonly words: ReadonlySet<string> },
): Promise<number> {
  const objects = new Objects(server);
  const containers = (await objects.containers()).map(({ container }) => container);
  const podsRoot = podsRootOf(call);
  using grace = new GracePeriodLines(call.terminal);
  const options = { seconds: call.options.count("time"), grace };
  const removeWithDirectory = async (pod: PodSandbox): Promise<void> => {
    await stopAndRemovePod(server, pod, containers, options);
    if (pod.metadata !== undefined) await removeOwnDirectory(podsRoot, pod.metadata);
  };
  const tasks: Task[] = [];
  // Resolve all names before the first pod is removed.
  for (const word of targets.words) {
    const pod = await podOf(word, objects);
    tasks.push({ name: podPath(pod), work: () => removeWithDirectory(pod) });
  }
  for (const names of targets.names) {
    const path = `${names.namespace}/${names.name}`;
    const existing = (await objects.pods()).filter((each) => podPath(each) === path);
    const work = async (): Promise<void> => {
      await Promise.all(existing.map(removeWithDirectory));
      await removeOwnDirectory(podsRoot, names);
    };
    tasks.push({ name: existing.length === 0 ? `${path} (not found)` : path, work });
  }
  return await forEach(call, tasks, grace.lines);
}

async function podOf(word: string, objects: Objects): Promise<PodSandbox> {
  try {
    return await pickPod(word, objects);
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.exitCode !== exitCode.notFound) throw error;
    const message = `${messageOf(error)}; a file "${word}" does not exist either`;
    throw new CommandFailure(exitCode.notFound, message, { cause: error });
  }
}
