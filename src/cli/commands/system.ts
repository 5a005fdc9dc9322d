import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { endedPods, prune, unusedImages } from "../disk/prune.ts";
import { type DiskUsage, diskUsage } from "../disk/usage.ts";
import { removeLeftDirectories } from "../lifecycle/left-directories.ts";
import { podsDirectoryOption, podsRootOf } from "../lifecycle/read-manifests.ts";
import { Objects } from "../objects/objects.ts";
import { formatValue } from "../output/cri-message.ts";
import { formatBytes } from "../output/figures.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { type Column, formatTable } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit system df`. */
export const systemDf: Command = {
  name: "system df",
  section: "Inspection and debugging",
  summary: "Show what images, containers, logs and checkpoints take on the disk",
  details:
    "IMAGES is the usage of the file system of images, and what can be reclaimed at most the sum of the images that no\n" +
    "container uses: images share layers. CONTAINERS are the writable layers. CHECKPOINTS are snapshots, which can be\n" +
    "removed, and files from which containers are captured or restored at the moment, which only root sees. The sizes of\n" +
    "logs are read on this machine.",
  operands: [],
  options: outputOption,
  examples: [{ line: "davit system df", does: "Show the disk usage" }],
  client: true,
  run: (call) => withServer(call, (server) => showUsage(call, server)),
};

async function showUsage(call: Call, server: Server): Promise<number> {
  const usage = await diskUsage(server, new Objects(server));
  const format = outputFormat(call);
  if (format === "json" || format === "yaml") {
    const value = usage.map(({ bytes, reclaimable, ...rest }) => ({
      ...rest,
      bytes: Number(bytes),
      reclaimable: Number(reclaimable),
    }));
    call.terminal.out(formatValue(value, format));
    return exitCode.done;
  }
  const { style } = call.terminal;
  call.terminal.out(formatTable(usage, columns, { style, width: call.terminal.width() }));
  return exitCode.done;
}

const columns: readonly Column<DiskUsage>[] = [
  { title: "TYPE", of: ({ type }) => type },
  { title: "TOTAL", of: ({ total }) => String(total), right: true },
  { title: "ACTIVE", of: ({ active }) => String(active), right: true },
  { title: "SIZE", of: ({ bytes }) => formatBytes(bytes), right: true },
  { title: "RECLAIMABLE", of: ({ reclaimable }) => formatBytes(reclaimable), right: true },
];

const pruneOptions = {
  all: {
    short: "a",
    doc: "Remove all images that no container uses, not only those without a name",
  },
  force: { short: "f", doc: "Do not ask" },
} as const satisfies Command["options"];

/** `davit system prune`. */
export const systemPrune: Command = {
  name: "system prune",
  section: "Pods and containers",
  summary: "Remove pods of davit run that have ended, and unused images",
  details:
    "Lists what it would remove and asks first. Removes the pods that davit run made and in which no container runs,\n" +
    "with their logs and emptyDir volumes, exited containers of its other pods, and images without a name that no\n" +
    "container uses, and the directories that davit run -d --rm has left. Pods of kubelet and of other clients, and\n" +
    "what runs, always stay.",
  operands: [],
  options: { ...pruneOptions, "pods-directory": podsDirectoryOption },
  examples: [
    { line: "davit system prune", does: "Remove what has ended" },
    { line: "davit system prune -af", does: "Also remove all unused images, without a question" },
  ],
  client: true,
  run: (call) =>
    withServer(call, async (server) => {
      const objects = new Objects(server);
      const podsRoot = podsRootOf(call);
      const ended = await endedPods(objects, podsRoot);
      const going = new Set(ended.pods.map(({ id }) => id));
      const without = new Set([
        ...ended.containers.map(({ container }) => container.id),
        ...(await objects.containers())
          .filter(({ container }) => going.has(container.podSandboxId))
          .map(({ container }) => container.id),
      ]);
      const images = await unusedImages(objects, { all: call.options.has("all"), without });
      const code = await prune(call, server, objects, { found: { ...ended, images }, podsRoot });
      // Not after a "no" to the question.
      if (code === exitCode.done) await removeLeftDirectories(server, podsRoot);
      return code;
    }),
};

/** `davit image prune`. */
export const imagePrune: Command = {
  name: "image prune",
  section: "Images",
  summary: "Remove unused images",
  details:
    "Lists what it would remove and asks first. Pinned images and those that containers use always stay.",
  operands: [],
  options: pruneOptions,
  examples: [
    { line: "davit image prune", does: "Remove unused images without a name" },
    { line: "davit image prune -af", does: "Remove all unused images, as davit rmi --unused" },
  ],
  client: true,
  run: (call) =>
    withServer(call, async (server) => {
      const objects = new Objects(server);
      const all = call.options.has("all");
      const images = await unusedImages(objects, { all, without: new Set() });
      const found = { pods: [], containers: [], images };
      return await prune(call, server, objects, { found, podsRoot: "" });
    }),
};
