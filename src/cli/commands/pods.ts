import { create } from "@bufbuild/protobuf";
import {
  ListPodSandboxResponseSchema,
  type PodSandbox,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Call, Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { filterOptions, readFilter } from "../objects/filter.ts";
import { podName } from "../objects/find.ts";
import { Objects } from "../objects/objects.ts";
import { messageToJson } from "../output/cri-message.ts";
import { formatAge, shortId } from "../output/figures.ts";
import { listingOptions, outputFormat, printListing } from "../output/listing.ts";
import type { Column } from "../output/table.ts";
import { type Server, withServer } from "../server/session.ts";

const states = ["ready", "notready"] as const;

/** `davit pods`. */
export const pods: Command = {
  name: "pods",
  section: "Pods and containers",
  summary: "List pods",
  operands: [],
  options: {
    ...listingOptions,
    state: { value: "STATE", doc: "Only those in this state", complete: states },
    ...filterOptions,
  },
  examples: [
    { line: "davit pods", does: "All pods, the newest first" },
    {
      line: "davit pods --label app=web --state ready -o wide",
      does: "Some, with their addresses",
    },
    { line: "davit pods -o json", does: "The CRI's own message, for a program" },
  ],
  client: true,
  run: (call) => withServer(call, (server) => list(call, server)),
};

async function list(call: Call, server: Server): Promise<number> {
  const filter = readFilter(call);
  const state = call.options.text("state");
  const items = (await new Objects(server).pods()).filter(
    (pod) =>
      (state === undefined || state === stateName(pod)) &&
      filter({
        name: podName(pod),
        namespace: pod.metadata?.namespace ?? "",
        labels: pod.labels,
      }),
  );
  const addresses =
    outputFormat(call) === "wide" ? await addressesOf(items, server) : new Map<string, string>();
  printListing(call, {
    items,
    idOf: ({ id }) => id,
    columns: columns(addresses, Date.now()),
    message: () =>
      messageToJson(
        ListPodSandboxResponseSchema,
        create(ListPodSandboxResponseSchema, { items: [...items] }),
      ),
  });
  return exitCode.done;
}

function columns(
  addresses: ReadonlyMap<string, string>,
  nowMs: number,
): readonly Column<PodSandbox>[] {
  return [
    { title: "POD ID", of: ({ id }) => shortId(id) },
    { title: "NAMESPACE", of: ({ metadata }) => metadata?.namespace ?? "" },
    { title: "NAME", of: podName },
    {
      title: "STATE",
      of: stateName,
      paint: (pod, style) => (stateName(pod) === "ready" ? style.green : style.red),
    },
    { title: "CREATED", of: ({ createdAt }) => formatAge(createdAt, nowMs) },
    { title: "ADDRESS", of: ({ id }) => addresses.get(id) ?? "", wide: true },
    { title: "RUNTIME", of: ({ runtimeHandler }) => runtimeHandler || "(default)", wide: true },
    { title: "ATTEMPT", of: ({ metadata }) => String(metadata?.attempt ?? 0), wide: true },
    { title: "UID", of: ({ metadata }) => metadata?.uid ?? "", wide: true },
  ];
}

/** The state of a pod as davit's lists and filters call it. */
export function stateName({ state }: PodSandbox): (typeof states)[number] {
  return state === PodSandboxState.SANDBOX_READY ? "ready" : "notready";
}

/** A pod that goes meanwhile has no address: no reason to fail the list. */
async function addressesOf(
  list: readonly PodSandbox[],
  server: Server,
): Promise<ReadonlyMap<string, string>> {
  const pairs = list.map(async ({ id }): Promise<[string, string]> => {
    const request = { podSandboxId: id };
    const { status } = await server.client.runtime
      .podSandboxStatus(request, server.limit())
      .catch(() => ({ status: undefined }));
    return [id, status?.network?.ip ?? ""];
  });
  return new Map(await Promise.all(pairs));
}
