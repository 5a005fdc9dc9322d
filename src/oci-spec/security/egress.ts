import type { OciSpec } from "../../core/oci/index.ts";
import { askedEgress, type Sandbox } from "../../core/sandbox/index.ts";
import type { LinuxContainerSecurityContext } from "../../gen/runtime/v1/api_pb.ts";
import { refuse } from "../refuse.ts";
import { capabilityNames } from "./capabilities.ts";

/**
 * Capabilities with which a process could change the rules of its pod's egress, send past them, or reach processes and
 * files of the node that can. NET_RAW sends by packet sockets, which rules of iptables do not see (packet(7)).
 */
const dangerous: readonly string[] = [
  "CAP_BPF",
  "CAP_DAC_READ_SEARCH",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_SYS_ADMIN",
  "CAP_SYS_MODULE",
  "CAP_SYS_PTRACE",
  "CAP_SYS_RAWIO",
];

const why =
  'with which it could pass the rules of its pod\'s annotation "davit.egress"; leave it out, or remove the annotation';

type Pod = Sandbox["config"];

/** The capabilities that containers of a pod may have, of those of the daemon: without NET_RAW, a default, and others. */
export function capabilitiesInPod(host: readonly string[], pod: Pod): readonly string[] {
  if (askedEgress(pod) === undefined) return host;
  return host.filter((name) => !dangerous.includes(name));
}

/** Refuses, with `invalid-argument`, a container that asks for what could pass its pod's limits of egress. */
export function checkEgressContext(
  { privileged, capabilities }: Pick<LinuxContainerSecurityContext, "privileged" | "capabilities">,
  pod: Pod,
): void {
  if (askedEgress(pod) === undefined) return;
  if (privileged) refuse(`security_context.privileged is set, ${why}`);
  const dropped = capabilityNames(capabilities?.dropCapabilities);
  for (const name of [
    ...capabilityNames(capabilities?.addCapabilities),
    ...capabilityNames(capabilities?.addAmbientCapabilities),
  ]) {
    const isDangerous = name === "CAP_ALL" || (dangerous.includes(name) && !dropped.has(name));
    if (isDangerous) refuse(`capability ${name} is added, ${why}`);
  }
}

/** The same for a whole spec, to which plugins, CDI files and the handler may have added capabilities. */
export function checkEgressSpec(spec: OciSpec, pod: Pod): OciSpec {
  if (askedEgress(pod) === undefined) return spec;
  const sets: readonly (readonly string[])[] = Object.values(spec.process.capabilities);
  const found = sets.flat().find((name) => dangerous.includes(name));
  if (found !== undefined) refuse(`capability ${found} is added by the node, ${why}`);
  return spec;
}
