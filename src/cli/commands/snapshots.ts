import { create } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import {
  ListSnapshotsResponseSchema,
  type Snapshot,
  SnapshotSchema,
} from "../../gen/davit/v1/checkpoints_pb.ts";
import { davitOnly } from "../archives/load-archive.ts";
import type { Call, Command, OptionSpec } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { forEach } from "../lifecycle/each.ts";
import { podPath } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { printableLines } from "../output/printable.ts";
import type { Terminal } from "../output/terminal.ts";
import { formatAge, formatBytes, shortId } from "../output/figures.ts";
import { listingOptions, outputFormat, outputOption, printListing } from "../output/listing.ts";
import type { Column } from "../output/table.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";
import { pickSnapshot } from "../snapshots/find.ts";

const removeMs = 60_000;

/** The option of commands that capture pods. */
export const closeTcpOption = {
  doc: "Capture a pod that has open TCP connections: they are closed in the restored pod",
  alsoNamed: ["--tcp-close"],
} as const satisfies OptionSpec;

/** `davit snapshots`. */
export const snapshots: Command = {
  name: "snapshots",
  section: "Pods and containers",
  summary: "List snapshots of pods",
  details:
    "A snapshot is the saved state of a running pod: the memory of its processes and the changed files of its\n" +
    "containers. davit restore starts pods from it. Its files hold all that the processes had in memory, passwords\n" +
    "included, and only root can read them. Only with davit.",
  operands: [],
  options: listingOptions,
  examples: [
    { line: "davit snapshots", does: "List all snapshots with their sizes on disk" },
    { line: "davit snapshots -o json", does: "List them for a program" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

/** `davit snapshots create`. */
export const snapshotsCreate: Command = {
  name: "snapshots create",
  section: "Pods and containers",
  summary: "Make a snapshot of a running pod",
  details:
    "All containers of the pod are paused while they are captured, and run on afterwards, also after an error. Prints\n" +
    "the id of the snapshot, which stays on the node until davit snapshots rm removes it. docs/checkpoints.md says what\n" +
    "cannot be captured. Only with davit.",
  operands: [{ name: "POD", complete: "pod" }],
  options: { "close-tcp": closeTcpOption, ...outputOption },
  examples: [
    { line: "davit snapshots create web", does: "Make a snapshot of a pod" },
    { line: "davit restore $(davit snapshots create web)", does: "Run a copy of a running pod" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => createOne(call, server)),
};

/** `davit snapshots rm`. */
export const snapshotsRm: Command = {
  name: "snapshots rm",
  section: "Pods and containers",
  summary: "Remove snapshots",
  details:
    "Frees their disk space. Pods that were restored from them run on; a container that was created from one and not\n" +
    "started yet keeps it from being removed. Only with davit.",
  operands: [{ name: "SNAPSHOT", many: true, optional: true, complete: "snapshot" }],
  options: { all: { short: "a", doc: "Remove all snapshots" } },
  examples: [
    { line: "davit snapshots rm 3f2a", does: "Remove one snapshot by its id" },
    { line: "davit snapshots rm --all", does: "Free disk space" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => removeAll(call, server)),
};

/** A snapshot for JSON and YAML: without the configs, whose variables may have passwords. */
function withoutConfigs(snapshot: Snapshot): Snapshot {
  const none = new Uint8Array();
  const containers = snapshot.containers.map((each) => ({ ...each, config: none }));
  return create(SnapshotSchema, { ...snapshot, config: none, containers });
}

/** Makes a snapshot of a pod. It takes as long as it needs: the memory is written to the disk. */
export async function takeSnapshot(
  call: Call,
  server: Server,
  pod: Parameters<typeof podPath>[0] & { readonly id: string },
): Promise<Snapshot> {
  const request = { sandboxId: pod.id, closeTcp: call.options.has("close-tcp") };
  const taken = server.client.checkpoints.takeSnapshot(request, server.unlimited());
  return await doing(`take a snapshot of pod "${podPath(pod)}"`, davitOnly(taken));
}

/** Removes a snapshot, also after Ctrl-C. */
async function removeSnapshot({ client }: Pick<Server, "client">, id: string): Promise<void> {
  const removal = client.checkpoints.removeSnapshot({ id }, { timeoutMs: removeMs });
  await doing(`remove snapshot "${shortId(id)}"`, davitOnly(removal));
}

/**
 * Removes the snapshot that a command has made for itself. A failure is a note: what the command has done is done, or
 * its own error says more.
 */
export async function removeOwnSnapshot(
  { terminal }: { readonly terminal: Pick<Terminal, "err" | "errStyle"> },
  server: Pick<Server, "client">,
  id: string,
): Promise<void> {
  try {
    await removeSnapshot(server, id);
  } catch (error) {
    const text = `${messageOf(error)}; the snapshot has the memory of the pod: remove it with "davit snapshots rm ${shortId(id)}"`;
    terminal.err(`${terminal.errStyle.yellow("!")} ${printableLines(text)}\n`);
  }
}

async function list(call: Call, server: Server): Promise<number> {
  const items = await new Objects(server).snapshots();
  printListing(call, {
    items,
    idOf: ({ id }) => id,
    columns: columns(call.options.has("no-trunc"), Date.now()),
    message: () => {
      const all = create(ListSnapshotsResponseSchema, { snapshots: items.map(withoutConfigs) });
      return messageToJson(ListSnapshotsResponseSchema, all);
    },
  });
  return exitCode.done;
}

function columns(whole: boolean, now: number): readonly Column<Snapshot>[] {
  return [
    { title: "SNAPSHOT ID", of: ({ id }) => (whole ? id : shortId(id)) },
    { title: "NAMESPACE", of: ({ podNamespace }) => podNamespace },
    { title: "POD", of: ({ podName }) => podName },
    { title: "CONTAINERS", of: ({ containers }) => containers.map(({ name }) => name).join(", ") },
    { title: "TAKEN", of: ({ takenAtNs }) => formatAge(takenAtNs, now) },
    { title: "SIZE", of: ({ size }) => formatBytes(size), right: true },
    {
      title: "IMAGES",
      of: ({ containers }) => containers.map(({ image }) => image).join(", "),
      wide: true,
    },
    { title: "PATH", of: ({ path }) => path, wide: true },
  ];
}

async function createOne(call: Call, server: Server): Promise<number> {
  const pod = await pickPod(call.operands[0] ?? "", new Objects(server));
  const taken = await takeSnapshot(call, server, pod);
  const format = outputFormat(call);
  const isTable = format === "table" || format === "wide";
  const message = isTable ? `${taken.id}\n` : formatValue(toJson(taken), format);
  call.terminal.out(message);
  return exitCode.done;
}

function toJson(snapshot: Snapshot): ReturnType<typeof messageToJson> {
  return messageToJson(SnapshotSchema, withoutConfigs(snapshot));
}

async function removeAll(call: Call, server: Server): Promise<number> {
  const all = call.options.has("all");
  if (all === call.operands.length > 0) {
    throw new UsageError(
      all ? '"--all" removes all: name no SNAPSHOT' : "SNAPSHOT is missing, or --all",
      snapshotsRm,
    );
  }
  const objects = new Objects(server);
  const chosen = all
    ? (await objects.snapshots()).map(({ id }) => ({ word: shortId(id), id }))
    : await Promise.all(
        [...new Set(call.operands)].map(async (word) => ({
          word,
          id: (await pickSnapshot(word, objects)).id,
        })),
      );
  const tasks = chosen.map(({ word, id }) => ({
    name: word,
    work: () => removeSnapshot(server, id),
  }));
  return await forEach(call, tasks);
}
