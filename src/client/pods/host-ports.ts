// The ports of this host that pods and processes use, for the command line and for the SDK. In a cluster the scheduler
// prevents conflicts, and port mappings do not notice a process that listens.
import type { JsonValue } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { type Container, type PodSandbox, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import type { PodManifest } from "../../manifest/index.ts";
import { member, readInfo } from "../verbose-info.ts";
import type { PodServer } from "./context.ts";
import { conflicts, type HostPort } from "./host-port.ts";
import { listeners, ownerOf } from "./listeners.ts";

/** What a server lists. */
export interface ListedPods {
  readonly pods: readonly PodSandbox[];
  readonly containers: readonly Container[];
  /** The ids of those pods that will be removed first, and their ports with them. */
  readonly replaced?: ReadonlySet<string>;
}

/** A port that is in use. */
export interface PortInUse {
  readonly port: HostPort;
  /** Describes the user of the port; undefined if it will be removed first. */
  readonly holder: () => string | undefined;
}

/** A port that a pod requests, and that something else has. */
export interface PortConflict {
  readonly pod: PodManifest;
  readonly port: HostPort;
  readonly holder: string;
}

/**
 * The ports in use. Those of pods are known if verbose statuses contain the config of the pod, as in davit and
 * containerd.
 */
export async function portsInUse(
  server: Pick<PodServer, "client" | "limit" | "doing">,
  listed: ListedPods,
): Promise<readonly PortInUse[]> {
  return [...(await portsOfPods(server, listed)), ...portsOfProcesses(listed)];
}

/** The conflicts of pods that are to be run with what is in use, and with each other. */
export function portConflicts(
  pods: readonly PodManifest[],
  inUse: readonly PortInUse[],
): readonly PortConflict[] {
  const requested = pods.flatMap((pod) => portsOf(pod).map((port) => ({ pod, port })));
  return requested.flatMap(({ pod, port }, at) => {
    const duplicate = requested.slice(0, at).find((other) => conflicts(other.port, port));
    const holder =
      duplicate === undefined
        ? holderOf(port, inUse)
        : `also requested by pod "${duplicate.pod.namespace}/${duplicate.pod.name}"`;
    return holder === undefined ? [] : [{ pod, port, holder }];
  });
}

/** Who uses a port; undefined for one that is free. */
export function holderOf(port: HostPort, inUse: readonly PortInUse[]): string | undefined {
  for (const each of inUse) {
    if (!conflicts(each.port, port)) continue;
    const holder = each.holder();
    if (holder !== undefined) return holder;
  }
  return undefined;
}

/** The host ports of a pod. */
export function portsOf({ containers }: PodManifest): readonly HostPort[] {
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
  { client, limit, doing }: Pick<PodServer, "client" | "limit" | "doing">,
  { pods, replaced }: ListedPods,
): Promise<readonly PortInUse[]> {
  const others = pods.filter(({ id }) => replaced?.has(id) !== true);
  const ports = others.map(async (pod): Promise<readonly PortInUse[]> => {
    const call = client.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true }, limit());
    // Removed since it was listed.
    const present = call.catch((error: unknown) => {
      if (isKind(error, "not-found")) return undefined;
      throw error;
    });
    const answer = await doing(`get the ports of pod "${pathOf(pod)}"`, present);
    if (answer === undefined) return [];
    const { status, info } = answer;
    // A stopped pod has released its address and its ports. A pod in the host's network namespace has no
    // address; its listening processes are found below.
    if ((status?.network?.ip ?? "") === "") return [];
    const holder = (): string => `in use by pod "${pathOf(pod)}"`;
    return readPorts(readInfo(info)["info"]).map((port) => ({ port, holder }));
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

function portsOfProcesses({ pods, containers, replaced }: ListedPods): readonly PortInUse[] {
  return listeners().map(({ inode, ...port }) => {
    const holder = (): string | undefined => {
      const owner = ownerOf(inode);
      if (owner === undefined) return "in use by a process";
      const own = containers.find(({ id }) => owner.cgroups.includes(id));
      if (own !== undefined && replaced?.has(own.podSandboxId) === true) return undefined;
      const pod = pods.find(({ id }) => id === own?.podSandboxId);
      const of = pod === undefined ? "" : ` of pod "${pathOf(pod)}"`;
      return `in use by process ${owner.pid} (${owner.command})${of}`;
    };
    return { port, holder };
  });
}

function pathOf({ metadata }: PodSandbox): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}
