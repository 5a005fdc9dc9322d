import { formatHostPort, type HostPort } from "../../client/pods/host-port.ts";
import { holderOf, portConflicts, portsInUse, portsOf } from "../../client/pods/host-ports.ts";
import type { PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { PodManifest } from "../../manifest/index.ts";
import type { Objects } from "../objects/objects.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** The pods whose host ports are checked. */
interface PortRequest {
  readonly pods: readonly PodManifest[];
  /** Existing pods that will be removed first, and their ports with them. */
  readonly replaced: readonly PodSandbox[];
}

/**
 * Rejects host ports that another pod of the server or a process of this host uses, or that two of the
 * pods request (client/pods/host-ports.ts).
 */
export async function checkHostPorts(
  server: Server,
  objects: Objects,
  { pods, replaced }: PortRequest,
): Promise<void> {
  if (pods.flatMap(portsOf).length === 0) return;
  const found = portConflicts(pods, await inUse(server, objects, replaced)).map(
    ({ pod, port, holder }) =>
      `  pod "${pod.namespace}/${pod.name}", host port ${formatHostPort(port)}: ${holder}`,
  );
  if (found.length === 0) return;
  throw new CommandFailure(
    exitCode.failed,
    `run pods: host ports are in use, nothing was done:\n${found.join("\n")}\nuse another hostPort, or stop the pod or process that uses it`,
  );
}

/** Who uses each of these host ports, for those that are in use. */
export async function hostPortsInUse(
  server: Server,
  objects: Objects,
  ports: readonly HostPort[],
): Promise<ReadonlyMap<HostPort, string>> {
  if (ports.length === 0) return new Map();
  const used = await inUse(server, objects, []);
  const found = new Map<HostPort, string>();
  for (const port of ports) {
    const holder = holderOf(port, used);
    if (holder !== undefined) found.set(port, holder);
  }
  return found;
}

async function inUse(server: Server, objects: Objects, replaced: readonly PodSandbox[]) {
  const [pods, containers] = await Promise.all([objects.pods(), objects.containers()]);
  return await portsInUse(
    { ...server, doing },
    {
      pods,
      containers: containers.map(({ container }) => container),
      replaced: new Set(replaced.map(({ id }) => id)),
    },
  );
}
