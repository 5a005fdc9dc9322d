import { isIP } from "node:net";

import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { NetworkRequest } from "../../core/network/index.ts";
import { podBandwidth } from "./bandwidth.ts";
import { isObject, type JsonObject, parseObject } from "./conflist.ts";

/** What every plugin call of one attachment is given: recorded at ADD, used again at DEL. */
export interface AttachmentArgs {
  /** The value of CNI_ARGS. */
  readonly cniArgs: string;
  /** Capability arguments by name; a plugin gets those that it declares. */
  readonly capabilityArgs: JsonObject;
}

// `;` separates the arguments and `=` name from value; CNI_ARGS knows no quoting.
function cniArg(name: string, value: string): string {
  if (/[;=]/.test(value)) {
    throw new RuntimeError(
      "invalid-argument",
      `pass ${name} to the network plugins: must not have ";" or "=", got "${value}"`,
    );
  }
  return `${name}=${value}`;
}

function portMappings(request: NetworkRequest): readonly JsonObject[] {
  return request.portMappings.map(({ hostPort, containerPort, protocol, hostIp }) => ({
    hostPort,
    containerPort,
    protocol,
    ...(hostIp !== "" && { hostIP: hostIp }),
  }));
}

function dns({ dns: { servers, searches, options } }: NetworkRequest): JsonObject | undefined {
  if (servers.length + searches.length + options.length === 0) return undefined;
  return { servers, searches, options };
}

/**
 * The arguments of a pod's attachment. The names of the capabilities and K8S_POD_* are the ones
 * that containerd and CRI-O pass, since plugins are written to those. Throws `invalid-argument`
 * for annotations that cannot be read.
 */
export function attachmentArgs(
  request: NetworkRequest,
  podCidrs: readonly string[],
): AttachmentArgs {
  const bandwidth = podBandwidth(request.annotations);
  const servers = dns(request);
  return {
    cniArgs: [
      "IgnoreUnknown=1",
      cniArg("K8S_POD_NAMESPACE", request.podNamespace),
      cniArg("K8S_POD_NAME", request.podName),
      cniArg("K8S_POD_INFRA_CONTAINER_ID", request.sandboxId),
      cniArg("K8S_POD_UID", request.podUid),
    ].join(";"),
    capabilityArgs: {
      "io.kubernetes.cri.pod-annotations": request.annotations,
      ...(request.portMappings.length > 0 && { portMappings: portMappings(request) }),
      ...(bandwidth !== undefined && { bandwidth }),
      ...(servers !== undefined && { dns: servers }),
      ...(podCidrs.length > 0 && { ipRanges: podCidrs.map((subnet) => [{ subnet }]) }),
      ...(request.cgroupPath !== "" && { cgroupPath: request.cgroupPath }),
    },
  };
}

/** Reads recorded arguments again. Throws `data-loss` when the record is not one of ours. */
export function parseAttachmentArgs(text: string): AttachmentArgs {
  const { cniArgs, capabilityArgs } = parseObject(text);
  if (typeof cniArgs !== "string" || !isObject(capabilityArgs)) {
    throw new RuntimeError(
      "data-loss",
      "read recorded network arguments: cniArgs must be a string and capabilityArgs an object",
    );
  }
  return { cniArgs, capabilityArgs };
}

/** Reads the pod CIDRs of a node, separated by commas; none for "". Throws `invalid-argument`. */
export function parsePodCidrs(text: string): readonly string[] {
  const cidrs = text.split(",").map((part) => part.trim());
  return cidrs
    .filter((cidr) => cidr !== "")
    .map((cidr) => {
      if (parseCidr(cidr) !== undefined) return cidr;
      throw new RuntimeError(
        "invalid-argument",
        `parse pod CIDR: it must be address/length; it is ${quote(cidr)}`,
      );
    });
}

/** The address of a CIDR text; undefined when it is not one. */
export function parseCidr(text: string): string | undefined {
  const slash = text.indexOf("/");
  const address = text.slice(0, slash);
  const length = text.slice(slash + 1);
  const family = slash < 0 ? 0 : isIP(address);
  if (family === 0 || !/^\d{1,3}$/.test(length)) return undefined;
  return Number(length) <= (family === 4 ? 32 : 128) ? address : undefined;
}
