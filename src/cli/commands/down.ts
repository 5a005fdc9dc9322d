import { statSync } from "node:fs";
import { messageOf } from "../../base/errors.ts";
import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import { GraceLines } from "../lifecycle/grace.ts";
import {
  fileOption,
  podsDirectoryOption,
  podsRootOf,
  readPodNames,
} from "../lifecycle/read-manifests.ts";
import { takeDown } from "../lifecycle/take-down.ts";
import { removeOwnDirectory } from "../lifecycle/volumes.ts";
import type { PodNames } from "../../manifest/pod.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit down`. */
export const down: Command = {
  name: "down",
  section: "Pods and containers",
  summary: "Stop and remove pods: those of manifests, or by name",
  details:
    "An operand that is a file, or - for stdin, is a manifest; any other one is the name of a pod,\n" +
    "NAMESPACE/NAME or an id. The pods go with their containers, logs and emptyDir volumes; containers\n" +
    "get their time of grace. A manifest's pod that is not there is not an error; images stay.",
  operands: [{ name: "FILE|POD", many: true, optional: true, complete: "file-or-pod" }],
  options: {
    time: { short: "t", value: "SECONDS", doc: "The time of grace; 0 kills at once" },
    file: fileOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit down examples/hello.yaml", does: "Take down what davit run has run" },
    { line: "davit down hello", does: "A pod by its name" },
    { line: "davit down -t 0 web.yaml", does: "At once" },
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

/** Whether an operand is a file: it is there, or it looks like the path of one that should be. */
function isManifest(word: string): boolean {
  if (word === "-") return true;
  const there = statSync(word, { throwIfNoEntry: false });
  if (there !== undefined && !there.isDirectory()) return true;
  return /^(\.{0,2}\/)|\.(ya?ml|json)$/.test(word);
}

async function downAll(
  call: Call,
  server: Server,
  asked: { readonly names: readonly PodNames[]; readonly words: ReadonlySet<string> },
): Promise<number> {
  const objects = new Objects(server);
  const containers = (await objects.containers()).map(({ container }) => container);
  const podsRoot = podsRootOf(call);
  using grace = new GraceLines(call.terminal);
  const options = { seconds: call.options.count("time"), grace };
  const takePodDown = async (pod: PodSandbox): Promise<void> => {
    await takeDown(server, pod, containers, options);
    if (pod.metadata !== undefined) await removeOwnDirectory(podsRoot, pod.metadata);
  };
  const tasks: Task[] = [];
  // What each word means, before anything is done to the first.
  for (const word of asked.words) {
    const pod = await podOf(word, objects);
    tasks.push({ name: podPath(pod), work: () => takePodDown(pod) });
  }
  for (const names of asked.names) {
    const path = `${names.namespace}/${names.name}`;
    const there = (await objects.pods()).filter((each) => podPath(each) === path);
    const work = async (): Promise<void> => {
      await Promise.all(there.map(takePodDown));
      await removeOwnDirectory(podsRoot, names);
    };
    tasks.push({ name: there.length === 0 ? `${path} was not there` : path, work });
  }
  return await forEach(call, tasks, grace.lines);
}

async function podOf(word: string, objects: Objects): Promise<PodSandbox> {
  try {
    return await pickPod(word, objects);
  } catch (error) {
    if (!(error instanceof CommandFailure) || error.exitCode !== exitCode.notFound) throw error;
    const message = `${messageOf(error)}; there is no file "${word}" either`;
    throw new CommandFailure(exitCode.notFound, message, { cause: error });
  }
}
