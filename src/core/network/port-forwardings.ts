import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import { Protocol } from "../../gen/runtime/v1/api_pb.ts";
import type { PortForwarding } from "./network.ts";

const protocols: Readonly<Record<Protocol, PortForwarding["protocol"]>> = {
  [Protocol.TCP]: "tcp",
  [Protocol.UDP]: "udp",
  [Protocol.SCTP]: "sctp",
};

/** The ports of the node that are forwarded to the pod. A host port of 0 means none (api.proto, PortMapping). */
export function podPortForwardings(config: PodSandboxConfig): readonly PortForwarding[] {
  return config.portMappings
    .filter((port) => port.hostPort > 0)
    .map((port) => ({
      hostPort: port.hostPort,
      containerPort: port.containerPort,
      protocol: protocols[port.protocol] ?? "tcp", // the zero value; the config check rejects others
      hostIp: port.hostIp,
    }));
}
