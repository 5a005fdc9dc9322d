import type { JsonValue } from "@bufbuild/protobuf";
import {
  ContainerStatusResponseSchema,
  PodSandboxStatusResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Json, OperationView, PodDetail } from "../../page/view.ts";
import { member, messageToJson, readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { readHistory } from "../../client/operations.ts";
import { toOperationView } from "./model/operations.ts";

/** More containers of a pod are not described: a pod that restarts forever has many. */
const maxContainers = 30;

/** A pod with its history and its verbose statuses. Throws `not-found` when it does not exist. */
export async function podDetail({ client, limit }: Server, id: string): Promise<PodDetail> {
  const what = `get the status of pod "${id}"`;
  const request = { podSandboxId: id, verbose: true };
  const pod = await doing(what, client.runtime.podSandboxStatus(request, limit()));
  const filter = { podSandboxId: id };
  const listed = client.runtime.listContainers({ filter }, limit());
  const { containers } = await doing(`list the containers of pod "${id}"`, listed);
  const newest = containers
    .toSorted((a, b) => (a.createdAt > b.createdAt ? -1 : 1))
    .slice(0, maxContainers);
  const answers = await Promise.all(
    newest.map(({ id: containerId }) =>
      client.runtime
        .containerStatus({ containerId, verbose: true }, limit())
        // It may have been removed meanwhile.
        .catch(() => undefined),
    ),
  );
  const info = infoOf(pod.info);
  const past = readHistory(member(info, "history"));
  const operations = (past ?? []).map((each) => toOperationView(each, ""));
  const spec: [string, Json][] = [
    ["pod", withInfo(messageToJson(PodSandboxStatusResponseSchema, { ...pod, info: {} }), info)],
  ];
  for (const answer of answers) {
    if (answer?.status === undefined) continue;
    const { name = "", attempt = 0 } = answer.status.metadata ?? {};
    const own = infoOf(answer.info);
    for (const each of readHistory(member(own, "history")) ?? []) {
      operations.push(toOperationView(each, name));
    }
    const json = messageToJson(ContainerStatusResponseSchema, { ...answer, info: {} });
    spec.push([attempt === 0 ? name : `${name} (attempt ${attempt})`, withInfo(json, own)]);
  }
  const reason = member(info, "reason");
  return {
    id,
    reason: typeof reason === "string" ? reason : "",
    hasHistory: past !== undefined,
    operations: operations.toSorted(byStart),
    spec: Object.fromEntries(spec),
  };
}

/** The verbose info of containers and pods, which is a JSON text under the key "info". */
function infoOf(info: Readonly<Record<string, string>>): JsonValue {
  const all = readInfo(info);
  return all["info"] ?? all;
}

/** The status and the info side by side, without the history, which has a view of its own. */
function withInfo(response: JsonValue, info: JsonValue): Json {
  const status = member(response, "status") ?? null;
  if (typeof info !== "object" || info === null || Array.isArray(info)) return { status, info };
  const { history: _, ...rest } = info;
  return { status, info: rest };
}

function byStart(a: OperationView, b: OperationView): number {
  return a.startedMs - b.startedMs;
}
