import { readFileSync } from "node:fs";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { IDMapping } from "../../gen/runtime/v1/api_pb.ts";
import {
  chooseHostIds,
  type IdRange,
  podIdCount,
  type PodManifest,
  subordinateIds,
  withIdMapping,
} from "../../manifest/index.ts";
import type { PodRunContext } from "./context.ts";

/**
 * Assigns ids of the node to each pod with a user namespace. They do not overlap with those of other pods
 * of the server, or of users in /etc/subuid and /etc/subgid. Returns other pods unchanged.
 */
export async function assignIds(
  context: PodRunContext,
  pods: readonly PodManifest[],
): Promise<readonly PodManifest[]> {
  if (!pods.some(({ userNamespace }) => userNamespace)) return pods;
  const taken: IdRange[] = [
    ...["/etc/subuid", "/etc/subgid"].flatMap((file) => subordinateIds(readIfThere(file))),
    ...(await idsOfPods(context)),
  ];
  return pods.map((pod) => {
    if (!pod.userNamespace) return pod;
    const first = chooseHostIds(pod.uid, taken);
    if (first === undefined) {
      throw new RuntimeError(
        "resource-exhausted",
        `assign user ids to pod "${pod.namespace}/${pod.name}": all ids are used by other pods and /etc/subuid; remove pods with hostUsers: false`,
      );
    }
    taken.push({ first, length: podIdCount });
    return withIdMapping(pod, first);
  });
}

/** The id mappings of all pods, including stopped ones, whose volumes may still exist. */
async function idsOfPods({ server, signal }: PodRunContext): Promise<readonly IdRange[]> {
  const { runtime } = server.client;
  const { doing } = server;
  const options = () => ({ ...server.limit(), signal });
  const { items } = await doing("list pods", runtime.listPodSandbox({}, options()));
  const spansOf = async (podSandboxId: string): Promise<readonly IdRange[]> => {
    try {
      const call = runtime.podSandboxStatus({ podSandboxId }, options());
      const { status } = await doing(`get the status of pod "${podSandboxId}"`, call);
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

function asSpan({ hostId, length }: IDMapping): IdRange {
  return { first: hostId, length };
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
