import { create } from "@bufbuild/protobuf";
import {
  ContainerState,
  type ContainerStatus,
  ListContainersResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { filterOptions, readFilter } from "../objects/filter.ts";
import { containerPath, type PodContainer, podName } from "../objects/find.ts";
import { exitStatusesOf } from "../objects/exit-statuses.ts";
import { imageName, imageNamesOf } from "../objects/image-name.ts";
import { Objects } from "../objects/objects.ts";
import { pickPod } from "../objects/pick.ts";
import { containerStateName, containerStates } from "../objects/state.ts";
import { messageToJson } from "../output/cri-message.ts";
import { formatAge, shortId } from "../output/figures.ts";
import { listingOptions, printListing } from "../output/listing.ts";
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
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

async function list(call: Call, server: Server): Promise<number> {
  const objects = new Objects(server);
  const items = await selectContainers(call, objects);
  const ends = call.options.has("quiet")
    ? new Map<string, ContainerStatus>()
    : await exitStatusesOf(items, server);
  const now = Date.now();
  printListing(call, {
    items,
    idOf: ({ container }) => container.id,
    columns: columns(await imageNamesOf(objects), ends, now),
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
  const state = call.options.text("state");
  const podWord = call.options.text("pod");
  const podId = podWord === undefined ? undefined : (await pickPod(podWord, objects)).id;
  const all = call.options.has("all");
  return (await objects.containers()).filter(({ container, pod }) => {
    const own = containerStateName(container.state);
    if (state === undefined ? !all && own !== "running" : own !== state) return false;
    if (podId !== undefined && container.podSandboxId !== podId) return false;
    return filter({
      name: container.metadata?.name ?? "",
      namespace: pod?.metadata?.namespace ?? container.labels["io.kubernetes.pod.namespace"] ?? "",
      labels: container.labels,
    });
  });
}

function columns(
  images: ReadonlyMap<string, string>,
  ends: ReadonlyMap<string, ContainerStatus>,
  nowMs: number,
): readonly Column<PodContainer>[] {
  return [
    { title: "CONTAINER", of: ({ container }) => shortId(container.id) },
    {
      title: "POD",
      of: (each) => podName(each.pod) || containerPath(each).split("/").at(-2) || "",
    },
    { title: "NAME", of: ({ container }) => container.metadata?.name ?? "" },
    { title: "IMAGE", of: ({ container }) => imageName(container, images) },
    {
      title: "STATE",
      of: ({ container }) => stateText(container.state, ends.get(container.id)),
      paint: ({ container }, style) => {
        if (container.state === ContainerState.CONTAINER_RUNNING) return style.green;
        const failed = (ends.get(container.id)?.exitCode ?? 0) !== 0;
        return failed ? style.red : style.yellow;
      },
    },
    { title: "CREATED", of: ({ container }) => formatAge(container.createdAt, nowMs) },
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
    { title: "POD ID", of: ({ container }) => shortId(container.podSandboxId), wide: true },
    { title: "NAMESPACE", of: ({ pod }) => pod?.metadata?.namespace ?? "", wide: true },
    {
      title: "REASON",
      of: ({ container }) => ends.get(container.id)?.reason ?? "",
      wide: true,
    },
  ];
}

function stateText(state: ContainerState, end: ContainerStatus | undefined): string {
  const name = containerStateName(state);
  return end === undefined ? name : `${name} (${end.exitCode})`;
}
