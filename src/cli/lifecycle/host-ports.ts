import type { JsonValue } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { type PodSandbox, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { PodManifest } from "../../manifest/index.ts";
import { type PodContainer, podPath } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import { member, readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { conflicts, formatHostPort, type HostPort } from "./host-port.ts";
import { listeners, ownerOf } from "./listeners.ts";

/** The pods whose host ports are checked. */
interface PortRequest {
  readonly pods: readonly PodManifest[];
  /** Existing pods that will be removed first, and their ports with them. */
  readonly replaced: readonly PodSandbox[];
}

/** A port that is in use. */
interface PortInUse {
  readonly port: HostPort;
  /** Describes the user of the port; undefined if it will be removed first. */
  readonly holder: () => string | undefined;
}

/**
 * Rejects host ports that another pod of the server or a process of this host uses, or that two of the
 * pods request. In a cluster the scheduler prevents such conflicts. The ports of existing pods are known
 * if verbose statuses contain the config of the pod, as in davit and containerd.
 */
export async function checkHostPorts(
  server: Server,
  objects: Objects,
  request: PortRequest,
): Promise<void> {
  const requested = request.pods.flatMap((pod) => portsOf(pod).map((port) => ({ pod, port })));
  if (requested.length === 0) return;
  const [ofPods, containers] = await Promise.all([
    portsOfPods(server, objects, request.replaced),
    objects.containers(),
  ]);
  const inUse = [...ofPods, ...portsOfProcesses(containers, request.replaced)];
  const found: string[] = [];
  for (const [at, { pod, port }] of requested.entries()) {
    const name = `"${pod.namespace}/${pod.name}"`;
    const duplicate = requested.slice(0, at).find((other) => conflicts(other.port, port));
    const holder =
      duplicate === undefined
        ? firstHolder(inUse, port)
        : `also requested by pod "${duplicate.pod.namespace}/${duplicate.pod.name}"`;
    if (holder !== undefined)
      found.push(`  pod ${name}, host port ${formatHostPort(port)}: ${holder}`);
  }
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
  const [ofPods, containers] = await Promise.all([
    portsOfPods(server, objects, []),
    objects.containers(),
  ]);
  const inUse = [...ofPods, ...portsOfProcesses(containers, [])];
  const found = new Map<HostPort, string>();
  for (const port of ports) {
    const holder = firstHolder(inUse, port);
    if (holder !== undefined) found.set(port, holder);
  }
  return found;
}

function firstHolder(inUse: readonly PortInUse[], port: HostPort): string | undefined {
  for (const each of inUse) {
    if (!conflicts(each.port, port)) continue;
    const holder = each.holder();
    if (holder !== undefined) return holder;
  }
  return undefined;
}

function portsOf({ containers }: PodManifest): readonly HostPort[] {
  return containers
    .flatMap(({ ports }) => ports)
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ protocol, hostPort, hostIp }) => ({
      protocol: protocolOf(protocol),
      port: hostPort,
      ip: hostIp,
    }));
}

async function portsOfPods(
  { client, limit }: Server,
  objects: Objects,
  replaced: readonly PodSandbox[],
): Promise<readonly PortInUse[]> {
  const replacedIds = new Set(replaced.map(({ id }) => id));
  const others = (await objects.pods()).filter(({ id }) => !replacedIds.has(id));
  const ports = others.map(async (pod): Promise<readonly PortInUse[]> => {
    try {
      const call = client.runtime.podSandboxStatus(
        { podSandboxId: pod.id, verbose: true },
        limit(),
      );
      const { status, info } = await doing(`get the ports of pod "${podPath(pod)}"`, call);
      // A stopped pod has released its address and its ports. A pod in the host's network namespace has no
      // address; its listening processes are found below.
      if ((status?.network?.ip ?? "") === "") return [];
      const holder = (): string => `in use by pod "${podPath(pod)}"`;
      return readPorts(readInfo(info)["info"]).map((port) => ({ port, holder }));
    } catch (error) {
      if (isKind(error, "not-found")) return []; // removed since it was listed
      throw error;
    }
  });
  return (await Promise.all(ports)).flat();
}

/** A host port, and the port of the pod behind it. */
interface PublishedPort extends HostPort {
  readonly containerPort: number;
}

/**
 * The host ports in a verbose status. davit 0.1 reports protobuf's JSON, with the names of enum
 * values; containerd reports Go's, with their numbers.
 */
export function readPorts(info: JsonValue | undefined): readonly PublishedPort[] {
  const mappings = member(member(info, "config"), "port_mappings");
  if (!Array.isArray(mappings)) return [];
  return mappings.flatMap((mapping) => {
    const [port, ip] = [member(mapping, "host_port"), member(mapping, "host_ip")];
    if (typeof port !== "number" || port <= 0) return [];
    const protocol = protocolOf(member(mapping, "protocol"));
    const inPod = member(mapping, "container_port");
    const containerPort = typeof inPod === "number" ? inPod : port;
    return [{ port, protocol, ip: typeof ip === "string" ? ip : "", containerPort }];
  });
}

/** A protocol of the CRI, as number or as text. */
export function protocolOf(value: JsonValue | undefined): HostPort["protocol"] {
  if (value === "UDP" || value === Protocol.UDP) return "udp";
  return value === "SCTP" || value === Protocol.SCTP ? "sctp" : "tcp";
}

function portsOfProcesses(
  containers: readonly PodContainer[],
  replaced: readonly PodSandbox[],
): readonly PortInUse[] {
  const replacedIds = new Set(replaced.map(({ id }) => id));
  return listeners().map(({ inode, ...port }) => {
    const holder = (): string | undefined => {
      const owner = ownerOf(inode);
      if (owner === undefined) return "in use by a process";
      const own = containers.find(({ container }) => owner.cgroups.includes(container.id));
      if (own !== undefined && replacedIds.has(own.container.podSandboxId)) {
        return undefined;
      }
      const of = own === undefined ? "" : ` of pod "${podPath(own.pod)}"`;
      return `in use by process ${owner.pid} (${owner.command})${of}`;
    };
    return { port, holder };
  });
}
