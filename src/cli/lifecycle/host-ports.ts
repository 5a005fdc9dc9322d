import type { JsonValue } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { type PodSandbox, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { PodManifest } from "../../manifest/pod.ts";
import { type PodContainer, podPath } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import { member, readInfo } from "../output/cri-message.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { collide, formatHostPort, type HostPort } from "./host-port.ts";
import { listeners, ownerOf } from "./listeners.ts";

/** What is asked for. */
interface PortRequest {
  readonly pods: readonly PodManifest[];
  /** Pods that go before: theirs are free then. */
  readonly leaving: readonly PodSandbox[];
}

/** A port that somebody has. */
interface PortInUse {
  readonly port: HostPort;
  /** A phrase for the message; undefined for what goes before. */
  readonly holder: () => string | undefined;
}

/**
 * Refuses host ports that another pod of the server has, or a process of this host, or that two of the
 * pods want: in a cluster the scheduler sees to that, and nobody does below it. The ports of pods are known
 * where the server tells their config in verbose statuses, as davit and containerd do.
 */
export async function checkHostPorts(
  server: Server,
  objects: Objects,
  request: PortRequest,
): Promise<void> {
  const wanted = request.pods.flatMap((pod) => portsOf(pod).map((port) => ({ pod, port })));
  if (wanted.length === 0) return;
  const [ofPods, containers] = await Promise.all([
    portsOfPods(server, objects, request.leaving),
    objects.containers(),
  ]);
  const taken = [...ofPods, ...portsOfProcesses(containers, request.leaving)];
  const found: string[] = [];
  for (const [at, { pod, port }] of wanted.entries()) {
    const name = `"${pod.namespace}/${pod.name}"`;
    const twin = wanted.slice(0, at).find((other) => collide(other.port, port));
    const holder =
      twin === undefined
        ? firstHolder(taken, port)
        : `pod "${twin.pod.namespace}/${twin.pod.name}" of the same command wants it`;
    if (holder !== undefined) found.push(`  pod ${name} wants ${formatHostPort(port)}: ${holder}`);
  }
  if (found.length === 0) return;
  throw new CommandFailure(
    exitCode.failed,
    `nothing was done: host ports are taken:\n${found.join("\n")}\nchoose another hostPort, or end what has it`,
  );
}

function firstHolder(taken: readonly PortInUse[], port: HostPort): string | undefined {
  for (const each of taken) {
    if (!collide(each.port, port)) continue;
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
  leaving: readonly PodSandbox[],
): Promise<readonly PortInUse[]> {
  const gone = new Set(leaving.map(({ id }) => id));
  const others = (await objects.pods()).filter(({ id }) => !gone.has(id));
  const ports = others.map(async (pod): Promise<readonly PortInUse[]> => {
    try {
      const call = client.runtime.podSandboxStatus(
        { podSandboxId: pod.id, verbose: true },
        limit(),
      );
      const { status, info } = await doing(`ask for the ports of pod "${podPath(pod)}"`, call);
      // One that is stopped has given its address and its ports back. One on the host's network has no
      // address of its own: what listens in it is found as a process.
      if ((status?.network?.ip ?? "") === "") return [];
      const holder = (): string => `pod "${podPath(pod)}" has it`;
      return readPorts(readInfo(info)["info"]).map((port) => ({ port, holder }));
    } catch (error) {
      if (isKind(error, "not-found")) return []; // removed since it was listed
      throw error;
    }
  });
  return (await Promise.all(ports)).flat();
}

/**
 * The host ports of a pod's config in a verbose status. davit 0.1 has protobuf's JSON, with the names of
 * values; containerd has Go's, with their numbers.
 */
export function readPorts(info: JsonValue | undefined): readonly HostPort[] {
  const mappings = member(member(info, "config"), "port_mappings");
  if (!Array.isArray(mappings)) return [];
  return mappings.flatMap((mapping) => {
    const [port, ip] = [member(mapping, "host_port"), member(mapping, "host_ip")];
    if (typeof port !== "number" || port <= 0) return [];
    const protocol = protocolOf(member(mapping, "protocol"));
    return [{ port, protocol, ip: typeof ip === "string" ? ip : "" }];
  });
}

function protocolOf(value: JsonValue | undefined): HostPort["protocol"] {
  if (value === "UDP" || value === Protocol.UDP) return "udp";
  return value === "SCTP" || value === Protocol.SCTP ? "sctp" : "tcp";
}

function portsOfProcesses(
  containers: readonly PodContainer[],
  leaving: readonly PodSandbox[],
): readonly PortInUse[] {
  const gone = new Set(leaving.map(({ id }) => id));
  return listeners().map(({ inode, ...port }) => {
    const holder = (): string | undefined => {
      const owner = ownerOf(inode);
      if (owner === undefined) return "a process listens there";
      const own = containers.find(({ container }) => owner.cgroups.includes(container.id));
      if (own !== undefined && gone.has(own.container.podSandboxId)) {
        return undefined;
      }
      const of = own === undefined ? "" : ` of pod "${podPath(own.pod)}"`;
      return `process ${owner.pid} (${owner.command})${of} listens there`;
    };
    return { port, holder };
  });
}
