import type { Call, Command } from "../command-line/command.ts";
import { forEach, type Task } from "../lifecycle/each.ts";
import {
  defaultPodsFolder,
  fileOption,
  filesOf,
  podsFolderOption,
  readPodNames,
} from "../lifecycle/read-manifests.ts";
import { takeDown } from "../lifecycle/take-down.ts";
import { removePodFolder } from "../lifecycle/volumes.ts";
import { podFolder, type PodNames } from "../manifest/pod.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit down`. */
export const down: Command = {
  name: "down",
  section: "Pods and containers",
  summary: "Stop and remove the Pods of manifests",
  details:
    "The pods of the names in the files, with their containers, logs and emptyDir volumes.\n" +
    "Containers get their time of grace. What is not there is no error; images stay.",
  operands: [{ name: "FILE", many: true, optional: true, complete: "file" }],
  options: {
    time: { short: "t", value: "SECONDS", doc: "The time of grace; 0 kills at once" },
    file: fileOption,
    "pods-folder": podsFolderOption,
  },
  examples: [
    { line: "davit down examples/hello.yaml", does: "Take down what davit run has run" },
    { line: "davit down -t 0 web.yaml", does: "At once" },
  ],
  client: true,
  run: (call) => {
    const names = readPodNames(filesOf(call, down));
    return withServer(call, (server) => downAll(call, server, names));
  },
};

async function downAll(call: Call, server: Server, names: readonly PodNames[]): Promise<number> {
  const seconds = call.options.count("time");
  const objects = new Objects(server);
  const containers = (await objects.containers()).map(({ container }) => container);
  const pods = await objects.pods();
  const podsRoot = call.options.text("pods-folder") ?? defaultPodsFolder;
  const tasks: Task[] = [];
  for (const pod of names) {
    const name = `${pod.namespace}/${pod.name}`;
    const there = pods.filter((each) => podPath(each) === name);
    const work = async (): Promise<void> => {
      await Promise.all(there.map((each) => takeDown(server, each, containers, seconds)));
      const uids = new Set([pod.uid, ...there.map(({ metadata }) => metadata?.uid ?? "")]);
      for (const uid of uids) {
        // A uid is the client's: only one that is a single folder's name is one of ours.
        if (uid === "" || uid.includes("/")) continue;
        await removePodFolder(podFolder(podsRoot, { ...pod, uid }));
      }
    };
    tasks.push({ name: there.length === 0 ? `${name} was not there` : name, work });
  }
  return forEach(call, tasks);
}
