import { create } from "@bufbuild/protobuf";
import {
  ContainerState,
  type ContainerStatus,
  ListContainersResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { filterOptions, readFilter, stateFilter } from "../objects/filter.ts";
import { containerPath, type PodContainer, podName } from "../objects/find.ts";
import { imageName, imageNamesOf } from "../objects/image-name.ts";
import { Objects } from "../objects/objects.ts";
import { networksOf, type PodNetwork } from "../lifecycle/published-ports.ts";
import { pickPod } from "../objects/pick.ts";
import { containerStateName, containerStates, isPaused } from "../objects/state.ts";
import { statusesOf } from "../objects/statuses.ts";
import { messageToJson } from "../output/cri-message.ts";
import { formatAge } from "../output/figures.ts";
import { idFormat, listingOptions, outputFormat, printListing } from "../output/listing.ts";
import type { Column } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";

/** `davit ps`. */
export const ps: Command = {
  name: "ps",
  section: "Pods and containers",
  summary: "List running containers, or all containers with --all",
  operands: [],
  options: {
    all: { short: "a", doc: "List all containers, not only running ones" },
    latest: { short: "l", doc: "List only the newest container, in any state" },
    last: { value: "NUMBER", doc: "List only so many newest containers, in any state" },
    ...listingOptions,
    state: { value: "STATE", doc: "List only containers in this state", complete: containerStates },
    pod: { value: "POD", doc: "List only containers of this pod", complete: "pod" },
    ...filterOptions,
  },
  examples: [
    { line: "davit ps", does: "List running containers" },
    {
      line: "davit ps -a --pod web",
      does: "List all containers of a pod with their exit codes",
    },
    { line: "davit ps -q --state exited", does: "Print the ids of exited containers" },
    { line: "davit ps -l", does: "List the newest container" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

async function list(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const items = await selectContainers(call, objects);
  const format = outputFormat(call);
  const shown = !call.options.has("quiet") && (format === "table" || format === "wide");
  const running = items.flatMap(({ container, pod }) =>
    container.state === ContainerState.CONTAINER_RUNNING && pod !== undefined ? [pod] : [],
  );
  const [statuses, networks, images] = shown
    ? await Promise.all([
        statusesOf(items, server),
        networksOf([...new Set(running)], server),
        imageNamesOf(objects),
      ])
    : [
        new Map<string, ContainerStatus>(),
        new Map<string, PodNetwork>(),
        new Map<string, string>(),
      ];
  const facts = { statuses, networks, images, idText: idFormat(call), nowMs: Date.now() };
  printListing(call, {
    items,
    idOf: ({ container }) => container.id,
    columns: columns(facts),
    message: () =>
      messageToJson(
        ListContainersResponseSchema,
        create(ListContainersResponseSchema, {
          containers: items.map(({ container }) => container),
        }),
      ),
  });
  return exitCode.done;
}

async function selectContainers(call: Call, objects: Objects): Promise<readonly PodContainer[]> {
  const filter = readFilter(call);
  const state = stateFilter(call, containerStates);
  const podWord = call.options.text("pod");
  const podId = podWord === undefined ? undefined : (await pickPod(podWord, objects)).id;
  const last = call.options.has("latest") ? 1 : call.options.count("last");
  const all = call.options.has("all") || last !== undefined;
  const found = (await objects.containers()).filter(({ container, pod }) => {
    const own = containerStateName(container.state);
    if (state === undefined ? !all && own !== "running" : own !== state) return false;
    if (podId !== undefined && container.podSandboxId !== podId) return false;
    return filter({
      id: container.id,
      name: container.metadata?.name ?? "",
      namespace: pod?.metadata?.namespace ?? container.labels["io.kubernetes.pod.namespace"] ?? "",
      labels: container.labels,
    });
  });
  return found.slice(0, last);
}

/** What the table shows besides the list. */
interface Facts {
  readonly statuses: ReadonlyMap<string, ContainerStatus>;
  readonly networks: ReadonlyMap<string, PodNetwork>;
  readonly images: ReadonlyMap<string, string>;
  readonly idText: (id: string) => string;
  readonly nowMs: number;
}

function columns({
  statuses,
  networks,
  images,
  idText,
  nowMs,
}: Facts): readonly Column<PodContainer>[] {
  const ends = new Map(
    [...statuses].filter(([, { state }]) => state === ContainerState.CONTAINER_EXITED),
  );
  return [
    { title: "CONTAINER", of: ({ container }) => idText(container.id) },
    {
      title: "POD",
      of: (each) => podName(each.pod) || containerPath(each).split("/").at(-2) || "",
    },
    { title: "NAME", of: ({ container }) => container.metadata?.name ?? "" },
    { title: "IMAGE", of: ({ container }) => imageName(container, images) },
    {
      title: "STATE",
      of: ({ container }) => stateText(container.state, statuses.get(container.id), nowMs),
      paint: ({ container }, style) => {
        if (isPaused(statuses.get(container.id))) return style.yellow;
        if (container.state === ContainerState.CONTAINER_RUNNING) return style.green;
        const failed = (ends.get(container.id)?.exitCode ?? 0) !== 0;
        return failed ? style.red : style.yellow;
      },
    },
    {
      title: "PORTS",
      of: ({ container }) =>
        container.state === ContainerState.CONTAINER_RUNNING
          ? (networks.get(container.podSandboxId)?.ports ?? "")
          : "",
    },
    { title: "CREATED", of: ({ container }) => formatAge(container.createdAt, nowMs), wide: true },
    {
      title: "ENDED",
      of: ({ container }) => formatAge(ends.get(container.id)?.finishedAt ?? 0n, nowMs),
      wide: true,
    },
    {
      title: "ATTEMPT",
      of: ({ container }) => String(container.metadata?.attempt ?? 0),
      wide: true,
    },
    { title: "POD ID", of: ({ container }) => idText(container.podSandboxId), wide: true },
    { title: "NAMESPACE", of: ({ pod }) => pod?.metadata?.namespace ?? "", wide: true },
    {
      title: "REASON",
      of: ({ container }) => ends.get(container.id)?.reason ?? "",
      wide: true,
    },
  ];
}

/** The state with its age: "running 3 min", "running 3 min (paused)", "exited (3) 2 min ago". */
function stateText(
  state: ContainerState,
  status: ContainerStatus | undefined,
  nowMs: number,
): string {
  const name = containerStateName(state);
  if (status?.state === ContainerState.CONTAINER_RUNNING) {
    const age = formatAge(status.startedAt, nowMs).replace(/ ago$/, "");
    return `${name} ${age}${isPaused(status) ? " (paused)" : ""}`.trimEnd();
  }
  if (status?.state !== ContainerState.CONTAINER_EXITED) return name;
  return `${name} (${status.exitCode}) ${formatAge(status.finishedAt, nowMs)}`.trimEnd();
}
