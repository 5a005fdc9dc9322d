import type { RestoredPod } from "../../client/pods/restore-pod.ts";
import type { Snapshot } from "../../gen/davit/v1/checkpoints_pb.ts";
import { openArchive } from "../archives/archive-input.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { podsDirectoryOption } from "../lifecycle/read-manifests.ts";
import { Objects } from "../objects/objects.ts";
import { formatValue } from "../output/cri-message.ts";
import { formatBytes, formatDuration, shortId } from "../output/figures.ts";
import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { printable } from "../output/printable.ts";
import { progressOutput } from "../output/progress-output.ts";
import { type Column, formatTable } from "../output/table.ts";
import { pathKind } from "../run-image/target.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { findSnapshot } from "../snapshots/find.ts";
import { removeOwnSnapshot } from "./snapshots.ts";

/** `davit restore`. */
export const restore: Command = {
  name: "restore",
  section: "Pods and containers",
  summary: "Run a pod from its saved state",
  details:
    "Makes a new pod in which the processes continue that davit snapshots create or davit checkpoint has saved. The\n" +
    "snapshot or file stays, and can be restored again. From the file of a single container, the pod has that\n" +
    "container only. The new pod has its own uid, address and logs, and its emptyDir volumes are empty. Host ports\n" +
    "that are in use are left out, with a note. Without --name it has the name of the former pod, with a suffix if a\n" +
    "pod of that name exists. The images of its containers must be on the node: pull them first. A node restores only\n" +
    'what it has saved itself, unless checkpoint.restore in its configuration is "any". After an error or Ctrl-C,\n' +
    "everything that was created is removed. Only with davit.",
  operands: [{ name: "FILE|SNAPSHOT", complete: "file-or-snapshot" }],
  options: {
    name: { value: "NAME", doc: "Name of the new pod" },
    namespace: {
      short: "n",
      value: "NAMESPACE",
      doc: "Kubernetes namespace of the new pod",
      complete: "namespace",
    },
    quiet: { short: "q", doc: "Print only the id of the pod" },
    ...outputOption,
    "pods-directory": podsDirectoryOption,
  },
  examples: [
    { line: "davit restore web.tar", does: "Run a pod from a file of davit checkpoint" },
    { line: "davit restore 3f2a --name web-2", does: "Run one more pod from a snapshot" },
    {
      line: "davit restore nginx.tar --name nginx-2",
      does: "Run one container in a pod of its own",
    },
    { line: "zstd -dc web.tar.zst | davit restore -", does: "Read the file from stdin" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => run(call, server)),
};

async function run(call: Call, server: Server): Promise<number> {
  const [word = ""] = call.operands;
  const objects = new Objects(server);
  const kept = word === "-" ? undefined : await findSnapshot(word, objects);
  if (kept === undefined && word !== "-" && pathKind(word) !== "file") {
    throw new CommandFailure(
      exitCode.notFound,
      `restore "${word}": it is neither the path of a file nor the id of a snapshot; "davit snapshots" lists those`,
    );
  }
  const { restoreSnapshot } = await import("../snapshots/restore.ts");
  if (kept !== undefined) {
    print(call, await restoreSnapshot(call, server, objects, kept));
    return exitCode.done;
  }
  const imported = await importFile(call, server, word);
  try {
    print(call, await restoreSnapshot(call, server, objects, imported));
  } finally {
    // The pod runs on without it.
    await removeOwnSnapshot(call, server, imported.id);
  }
  return exitCode.done;
}

async function importFile(call: Call, server: Server, path: string): Promise<Snapshot> {
  const input = await openArchive(path, restore);
  let sent = 0;
  using lines = new LiveLines(progressOutput(call.terminal, call.options.has("quiet")));
  const startedMs = performance.now();
  using _shown = lines.add((now) => [
    `${spinnerAt(now)} ${printable(input.name)}  reading  ${formatBytes(sent)}  ` +
      formatDuration(now - startedMs),
  ]);
  async function* requests() {
    for await (const data of input.chunks) {
      yield { data };
      sent += data.length;
    }
  }
  const read = async (): Promise<Snapshot> => {
    const { checkpoints } = server.client;
    for await (const { snapshot } of checkpoints.importSnapshot(requests(), server.unlimited())) {
      if (snapshot !== undefined) return snapshot;
    }
    throw new CommandFailure(exitCode.failed, "the server has answered without a snapshot");
  };
  return await doing(`read checkpoint "${input.name}"`, davitOnly(read()));
}

function print(call: Call, pod: RestoredPod): void {
  const { terminal } = call;
  const format = outputFormat(call);
  if (call.options.has("quiet")) terminal.out(`${pod.id}\n`);
  else if (format === "json" || format === "yaml") {
    const { names, id, ips, containers } = pod;
    const value = { id, ...names, ips: [...ips], containers: Object.fromEntries(containers) };
    terminal.out(formatValue(value, format));
  } else {
    terminal.out(formatTable([pod], columns, { style: terminal.style, width: terminal.width() }));
  }
}

const columns: readonly Column<RestoredPod>[] = [
  { title: "POD ID", of: ({ id }) => shortId(id) },
  { title: "NAMESPACE", of: ({ names }) => names.namespace },
  { title: "NAME", of: ({ names }) => names.name },
  { title: "ADDRESS", of: ({ ips }) => ips.join(", ") || "the host's" },
  { title: "CONTAINERS", of: ({ containers }) => [...containers.keys()].join(", ") },
];
