import { readFileSync } from "node:fs";
import { isKind } from "../../base/errors.ts";
import type { IDMapping } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { chooseIds, type IdSpan, podIdCount, subordinateIds, withIds } from "../../manifest/ids.ts";
import type { PodManifest } from "../../manifest/pod.ts";
import { doing } from "../server/explain.ts";
import type { RunContext } from "./run-pod.ts";

/**
 * Gives each pod with `ownUsers` ids of the node that no other pod of the server has, nor a user of
 * the node by /etc/subuid and /etc/subgid. Other pods stay as they are.
 */
export async function giveIds(
  context: RunContext,
  pods: readonly PodManifest[],
): Promise<readonly PodManifest[]> {
  if (!pods.some(({ ownUsers }) => ownUsers)) return pods;
  const taken: IdSpan[] = [
    ...["/etc/subuid", "/etc/subgid"].flatMap((file) => subordinateIds(readIfThere(file))),
    ...(await idsOfPods(context)),
  ];
  return pods.map((pod) => {
    if (!pod.ownUsers) return pod;
    const first = chooseIds(pod.uid, taken);
    if (first === undefined) {
      throw new CommandFailure(
        exitCode.failed,
        `find ids for pod "${pod.namespace}/${pod.name}": other pods and /etc/subuid have all of them; take pods with hostUsers false down`,
      );
    }
    taken.push({ first, length: podIdCount });
    return withIds(pod, first);
  });
}

/** What the user namespaces of all pods map, those that ended too: their volumes may be there yet. */
async function idsOfPods({ server, signal }: RunContext): Promise<readonly IdSpan[]> {
  const { runtime } = server.client;
  const options = () => ({ ...server.limit(), signal });
  const { items } = await doing("list pods", runtime.listPodSandbox({}, options()));
  const spansOf = async (podSandboxId: string): Promise<readonly IdSpan[]> => {
    try {
      const call = runtime.podSandboxStatus({ podSandboxId }, options());
      const { status } = await doing(`ask for the status of pod "${podSandboxId}"`, call);
      const users = status?.linux?.namespaces?.options?.usernsOptions;
      return [...(users?.uids ?? []), ...(users?.gids ?? [])].map(asSpan);
    } catch (error) {
      // Removed since it was listed.
      if (isKind(error, "not-found")) return [];
      throw error;
    }
  };
  return (await Promise.all(items.map(({ id }) => spansOf(id)))).flat();
}

function asSpan({ hostId, length }: IDMapping): IdSpan {
  return { first: hostId, length };
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
