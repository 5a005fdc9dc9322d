import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import {
  ContainerState,
  type ContainerStats,
  ListContainerStatsResponseSchema,
  type PodSandboxStats,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { type PodContainer, podName } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { pick } from "../objects/pick.ts";
import { formatValue, messageToJson } from "../output/cri-message.ts";
import { formatBytes, shortId } from "../output/figures.ts";
import { outputFormat, outputOption } from "../output/listing.ts";
import { type Column, formatTable } from "../output/table.ts";
import { doing } from "../server/explain.ts";
import { type Server, withServer } from "../server/session.ts";

const defaultIntervalMs = 1_500;

/** `davit stats`. */
export const stats: Command = {
  name: "stats",
  section: "Inspection and debugging",
  summary: "Show the resource usage of containers",
  details:
    "CPU is the usage between two samples; 100% is one CPU. DISK is the size of the container's writable\n" +
    "layer. The network statistics are those of the pod, which its containers share. A dash means that\n" +
    "the server does not report a value.",
  operands: [{ name: "POD|CONTAINER", many: true, optional: true, complete: "pod-or-container" }],
  options: {
    output: { ...outputOption.output, alsoNamed: ["--format"] },
    interval: { value: "TIME", doc: "Time between samples (default 1.5s)" },
    watch: { short: "w", doc: "Refresh until Ctrl-C" },
    all: { short: "a", doc: "Show containers that do not run, too" },
    "no-stream": { hidden: true, doc: "One sample is the default" },
  },
  examples: [
    { line: "davit stats", does: "Show all running containers" },
    { line: "davit stats -w web", does: "Watch the containers of a pod" },
    { line: "davit stats -o json", does: "Print one sample as JSON" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => show(call, server)),
};

async function show(call: Call, server: Server): Promise<number> {
  const { terminal, options } = call;
  const format = outputFormat(call);
  const isSelected = await selectContainers(call, new Objects(server));
  let before = await sample(server);
  if (format === "json" || format === "yaml") {
    const message = create(ListContainerStatsResponseSchema, {
      stats: before.containers.filter((each) => isSelected(each.attributes?.id ?? "")),
    });
    terminal.out(formatValue(messageToJson(ListContainerStatsResponseSchema, message), format));
    return exitCode.done;
  }
  const intervalMs = options.durationMs("interval") ?? defaultIntervalMs;
  const watches = options.has("watch");
  do {
    await sleep(intervalMs, undefined, { signal: server.signal });
    const now = await sample(server);
    const objects = await new Objects(server).containers();
    const rows = rowsOf(before, now, objects).filter(({ stats: { attributes } }) =>
      isSelected(attributes?.id ?? ""),
    );
    // ECMA-48: move to the top and erase the screen. In a pipe the tables are appended.
    if (watches && terminal.live) terminal.out("\u001b[H\u001b[2J");
    const shown = { style: terminal.style, width: terminal.width(), wide: format === "wide" };
    terminal.out(formatTable(rows, columns, shown));
    before = now;
  } while (watches);
  return exitCode.done;
}

interface Sample {
  readonly containers: readonly ContainerStats[];
  readonly pods: readonly PodSandboxStats[];
}

async function sample({ client, limit }: Server): Promise<Sample> {
  const [{ stats: containers }, { stats: pods }] = await Promise.all([
    doing("get container statistics", client.runtime.listContainerStats({}, limit())),
    // Not all servers have pod statistics: then there are none for the network.
    client.runtime.listPodSandboxStats({}, limit()).catch(() => ({ stats: [] })),
  ]);
  return { containers, pods };
}

/** Selects the containers: those that are named, those of named pods, or all running ones. */
async function selectContainers(call: Call, objects: Objects): Promise<(id: string) => boolean> {
  if (call.operands.length === 0) {
    if (call.options.has("all")) return () => true;
    const ended = (await objects.containers()).filter(
      ({ container }) => container.state !== ContainerState.CONTAINER_RUNNING,
    );
    const left = new Set(ended.map(({ container }) => container.id));
    return (id) => !left.has(id);
  }
  const ids = new Set<string>();
  for (const word of call.operands) {
    const found = await pick(word, ["pod", "container"], objects);
    if (found.kind === "container") ids.add(found.container.id);
    if (found.kind !== "pod") continue;
    for (const { container } of await objects.containers()) {
      if (container.podSandboxId === found.pod.id) ids.add(container.id);
    }
  }
  return (id) => ids.has(id);
}

/** The statistics of a container and of its pod. */
interface StatsRow {
  readonly stats: ContainerStats;
  /** The share of one CPU; undefined without two samples. */
  readonly cpuShare: number | undefined;
  readonly owner: PodContainer | undefined;
  readonly pod: PodSandboxStats | undefined;
}

/** Joins two samples with the containers. A container that is not in the first sample has no CPU share. */
function rowsOf(
  before: Sample,
  now: Sample,
  containers: readonly PodContainer[],
): readonly StatsRow[] {
  return now.containers.map((stats) => {
    const id = stats.attributes?.id;
    const earlier = before.containers.find((each) => each.attributes?.id === id);
    const owner = containers.find(({ container }) => container.id === id);
    const podId = owner?.container.podSandboxId;
    const pod = now.pods.find((each) => each.attributes?.id === podId);
    return { stats, cpuShare: shareOf(earlier, stats), owner, pod };
  });
}

function shareOf(before: ContainerStats | undefined, now: ContainerStats): number | undefined {
  const [first, last] = [before?.cpu, now.cpu];
  const used = first?.usageCoreNanoSeconds?.value;
  const usedNow = last?.usageCoreNanoSeconds?.value;
  if (first === undefined || last === undefined || used === undefined || usedNow === undefined) {
    return undefined;
  }
  const ns = Number(last.timestamp - first.timestamp);
  if (ns <= 0) return undefined; // the server has returned the same sample twice
  return Number(usedNow - used) / ns;
}

const columns: readonly Column<StatsRow>[] = [
  { title: "CONTAINER", of: ({ stats: { attributes } }) => shortId(attributes?.id ?? "") },
  { title: "POD", of: ({ owner }) => podName(owner?.pod) },
  { title: "NAME", of: ({ stats: { attributes } }) => attributes?.metadata?.name ?? "" },
  {
    title: "CPU",
    of: ({ cpuShare }) => (cpuShare === undefined ? "-" : `${(cpuShare * 100).toFixed(1)}%`),
    right: true,
  },
  { title: "MEMORY", of: ({ stats: { memory } }) => bytes(memory?.workingSetBytes), right: true },
  {
    title: "DISK",
    of: ({ stats: { writableLayer } }) => bytes(writableLayer?.usedBytes),
    right: true,
  },
  { title: "NET RX", of: ({ pod }) => bytes(networkOf(pod)?.rxBytes), right: true },
  { title: "NET TX", of: ({ pod }) => bytes(networkOf(pod)?.txBytes), right: true },
  { title: "RSS", of: ({ stats: { memory } }) => bytes(memory?.rssBytes), right: true, wide: true },
  {
    title: "INODES",
    of: ({ stats: { writableLayer } }) => String(writableLayer?.inodesUsed?.value ?? "-"),
    right: true,
    wide: true,
  },
];

function networkOf(pod: PodSandboxStats | undefined) {
  return pod?.linux?.network?.defaultInterface;
}

function bytes(value: { readonly value: bigint } | undefined): string {
  return value === undefined ? "-" : formatBytes(value.value);
}
