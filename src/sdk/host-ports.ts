import { formatHostPort } from "../client/pods/host-port.ts";
import { portConflicts, portsInUse, portsOf } from "../client/pods/host-ports.ts";
import type { PodRunContext } from "../client/pods/context.ts";
import type { PodManifest } from "../manifest/index.ts";
import { DavitError } from "./errors.ts";

/**
 * Rejects ports of the host that a pod of the server or a process of this machine uses, or that two of the pods request,
 * before anything is made.
 *
 * @throws DavitError `failed`, which names the holder
 */
export async function checkHostPorts(
  { server }: PodRunContext,
  what: string,
  manifests: readonly PodManifest[],
): Promise<void> {
  if (manifests.flatMap(portsOf).length === 0) return;
  const { client, limit, doing } = server;
  const [{ items }, { containers }] = await Promise.all([
    doing("list pods", client.runtime.listPodSandbox({}, limit())),
    doing("list containers", client.runtime.listContainers({}, limit())),
  ]);
  const inUse = await portsInUse(server, { pods: items, containers });
  const found = portConflicts(manifests, inUse);
  if (found.length === 0) return;
  const list = found.map(({ port, holder }) => `host port ${formatHostPort(port)} is ${holder}`);
  throw new DavitError("failed", `${what}: ${list.join(", ")}`, {
    hint: "use another port of the host, or stop the pod or process that uses it",
  });
}
