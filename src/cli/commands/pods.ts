import { create } from "@bufbuild/protobuf";
import { ListPodSandboxResponseSchema, type PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { type ContainerCount, countContainers } from "../objects/counts.ts";
import { exitStatusesOf } from "../objects/statuses.ts";
import { filterOptions, readFilter, stateFilter } from "../objects/filter.ts";
import { podName } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { networksOf, type PodNetwork } from "../lifecycle/published-ports.ts";
import { podStates, stateName } from "../objects/state.ts";
import { messageToJson } from "../output/cri-message.ts";
import { formatAge } from "../output/figures.ts";
import { idFormat, listingOptions, outputFormat, printListing } from "../output/listing.ts";
import type { Column } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit pods`. */
export const pods: Command = {
  name: "pods",
  section: "Pods and containers",
  summary: "List pods",
  details:
    "CONTAINERS is the number of running containers of a pod and the total number, without init containers\n" +
    "that have completed. A pod is ready while its sandbox is ready, even if its containers have exited.",
  operands: [],
  options: {
    ...listingOptions,
    state: { value: "STATE", doc: "List only pods in this state", complete: podStates },
    ...filterOptions,
  },
  examples: [
    { line: "davit pods", does: "List all pods, newest first" },
    { line: "davit pods --label app=web --state ready", does: "List ready pods with a label" },
    { line: "davit pods -o json", does: "Print the message of the CRI as JSON" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

async function list(call: Call, server: Server): Promise<number> {
  const filter = readFilter(call);
  const state = stateFilter(call, podStates);
  const objects = new Objects(server);
  const items = (await objects.pods()).filter(
    (pod) =>
      (state === undefined || state === stateName(pod)) &&
      filter({
        id: pod.id,
        name: podName(pod),
        namespace: pod.metadata?.namespace ?? "",
        labels: pod.labels,
      }),
  );
  const format = outputFormat(call);
  const shown = !call.options.has("quiet") && (format === "table" || format === "wide");
  const [networks, counts] = shown
    ? await Promise.all([networksOf(items, server), countsOf(items, objects, server)])
    : [new Map<string, PodNetwork>(), new Map<string, ContainerCount>()];
  printListing(call, {
    items,
    idOf: ({ id }) => id,
    columns: columns({ networks, counts, idText: idFormat(call) }, Date.now()),
    message: () =>
      messageToJson(
        ListPodSandboxResponseSchema,
        create(ListPodSandboxResponseSchema, { items: [...items] }),
      ),
  });
  return exitCode.done;
}

function columns(
  {
    networks,
    counts,
    idText,
  }: {
    readonly networks: ReadonlyMap<string, PodNetwork>;
    readonly counts: ReadonlyMap<string, ContainerCount>;
    readonly idText: (id: string) => string;
  },
  nowMs: number,
): readonly Column<PodSandbox>[] {
  return [
    { title: "POD ID", of: ({ id }) => idText(id) },
    { title: "NAMESPACE", of: ({ metadata }) => metadata?.namespace ?? "" },
    { title: "NAME", of: podName },
    {
      title: "STATE",
      of: stateName,
      paint: (pod, style) => (stateName(pod) === "ready" ? style.green : style.red),
    },
    {
      title: "CONTAINERS",
      of: ({ id }) => {
        const { running = 0, all = 0 } = counts.get(id) ?? {};
        return `${running}/${all}`;
      },
      paint: ({ id }, style) => {
        const { running, all, failed } = counts.get(id) ?? { running: 0, all: 0, failed: false };
        if (failed) return style.red;
        return running === all ? style.green : style.yellow;
      },
    },
    { title: "ADDRESS", of: ({ id }) => networks.get(id)?.address ?? "" },
    { title: "PORTS", of: ({ id }) => networks.get(id)?.ports ?? "" },
    { title: "CREATED", of: ({ createdAt }) => formatAge(createdAt, nowMs) },
    { title: "RUNTIME", of: ({ runtimeHandler }) => runtimeHandler || "(default)", wide: true },
    { title: "ATTEMPT", of: ({ metadata }) => String(metadata?.attempt ?? 0), wide: true },
    { title: "UID", of: ({ metadata }) => metadata?.uid ?? "", wide: true },
  ];
}

async function countsOf(
  list: readonly PodSandbox[],
  objects: Objects,
  server: Server,
): Promise<ReadonlyMap<string, ContainerCount>> {
  const listed = new Set(list.map(({ id }) => id));
  const containers = (await objects.containers()).filter(({ container }) =>
    listed.has(container.podSandboxId),
  );
  const ends = await exitStatusesOf(containers, server);
  const ofPod = Map.groupBy(containers, ({ container }) => container.podSandboxId);
  return new Map(list.map(({ id }) => [id, countContainers(ofPod.get(id) ?? [], ends)] as const));
}
