import { type PastOperation, phasesOf, readHistory } from "../client/operations.ts";
import { member, readInfo } from "../client/verbose-info.ts";
import type { History, Operation } from "./api/pod.ts";
import type { Connection } from "./connection.ts";

/** What happened to a pod and its containers, by the histories in davit's verbose statuses. */
export async function why(
  connection: Connection,
  pod: { readonly id: string; readonly path: string },
  containers: readonly { readonly id: string; readonly name: string }[],
): Promise<History> {
  const { runtime } = connection.client;
  const what = `get the history of pod "${pod.path}"`;
  const ofPod = runtime.podSandboxStatus(
    { podSandboxId: pod.id, verbose: true },
    connection.quick(),
  );
  const operations = operationsIn((await connection.doing(what, ofPod)).info, undefined);
  const ofContainers = containers.map(async ({ id, name }) => {
    const call = runtime.containerStatus({ containerId: id, verbose: true }, connection.quick());
    return operationsIn((await connection.doing(what, call)).info, name);
  });
  const all = [...operations, ...(await Promise.all(ofContainers)).flat()];
  return { operations: all.toSorted((a, b) => a.startedAt.getTime() - b.startedAt.getTime()) };
}

function operationsIn(
  info: Readonly<Record<string, string>>,
  container: string | undefined,
): readonly Operation[] {
  const facts = readInfo(info)["info"];
  return (readHistory(member(facts, "history")) ?? []).map((past) => toOperation(past, container));
}

function toOperation(past: PastOperation, container: string | undefined): Operation {
  return {
    name: past.operation,
    container,
    startedAt: new Date(past.startedMs),
    tookMs: past.tookMs,
    stages: phasesOf(past),
    error: past.error,
  };
}
