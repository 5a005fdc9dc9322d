import { RuntimeError } from "../../base/errors.ts";
import { ipVersion } from "../../base/ip-address.ts";
import type { PodSandboxConfig, PodSandboxMetadata } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode, Protocol } from "../../gen/runtime/v1/api_pb.ts";
import { askedLayerLimit } from "./layer-limit.ts";
import { checkNetworkLimits } from "./network-limits.ts";
import { askedPidsLimit } from "./pids-limit.ts";
import { checkRemoveAfter } from "./remove-after.ts";
import { namespaceModes, usesHostNetwork } from "./sandbox.ts";
import { checkSysctls } from "./sysctls.ts";
import { checkUserNamespace } from "./user-namespace.ts";

// Linux: __NEW_UTS_LEN in include/uapi/linux/utsname.h.
const maxHostname = 64;

function refuse(message: string): never {
  throw new RuntimeError("invalid-argument", message);
}

/** A config that has passed {@link checkSandboxConfig}. */
export type CheckedSandboxConfig = PodSandboxConfig & { readonly metadata: PodSandboxMetadata };

/**
 * Rejects an invalid pod config before anything is created. Each error is `invalid-argument` and has the
 * field, its value and the allowed values.
 */
export function checkSandboxConfig(config: PodSandboxConfig | undefined): CheckedSandboxConfig {
  if (config === undefined) refuse("check sandbox config: config is missing");
  const { metadata } = config;
  if (metadata === undefined) refuse("check sandbox config: metadata is missing");
  if (metadata.name === "") refuse("check sandbox config: metadata.name is empty");
  if (config.windows !== undefined) {
    refuse("check sandbox config: windows is set, this node runs Linux containers");
  }
  checkNamespaces(config);
  checkUserNamespace(config);
  checkHostname(config);
  checkDns(config);
  checkPorts(config);
  checkPaths(config);
  checkSysctls(config);
  askedLayerLimit(config);
  askedPidsLimit(config);
  checkRemoveAfter(config);
  checkNetworkLimits(config);
  return Object.assign(config, { metadata });
}

function checkNamespaces(config: PodSandboxConfig): void {
  const { network, pid, ipc } = namespaceModes(config);
  const podOrNode: readonly NamespaceMode[] = [NamespaceMode.POD, NamespaceMode.NODE];
  for (const [field, mode] of [
    ["network", network],
    ["ipc", ipc],
  ] as const) {
    if (!podOrNode.includes(mode)) {
      refuse(
        `check sandbox config: namespace_options.${field} must be POD or NODE, got ${modeName(mode)}`,
      );
    }
  }
  if (![...podOrNode, NamespaceMode.CONTAINER].includes(pid)) {
    refuse(
      `check sandbox config: namespace_options.pid must be POD, CONTAINER or NODE, got ${modeName(pid)}`,
    );
  }
}

function modeName(mode: number): string {
  return Object.entries(NamespaceMode).find(([, value]) => value === mode)?.[0] ?? String(mode);
}

/**
 * A trailing dot is allowed: kubelet without a cluster domain sends `pod.subdomain.namespace.svc.` for
 * setHostnameAsFQDN. It becomes part of the UTS hostname, as with containerd and CRI-O.
 */
function checkHostname(config: PodSandboxConfig): void {
  const { hostname } = config;
  if (hostname === "") return;
  if (usesHostNetwork(config)) {
    refuse(
      `check sandbox config: hostname "${hostname}" cannot be set for a pod on the host network`,
    );
  }
  if (
    hostname.length > maxHostname ||
    !/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$/.test(hostname)
  ) {
    refuse(
      `check sandbox config: hostname must be letters, digits, dots and dashes, ${String(maxHostname)} at most, got ${JSON.stringify(hostname)}`,
    );
  }
}

function checkDns(config: PodSandboxConfig): void {
  const dns = config.dnsConfig;
  if (dns === undefined) return;
  for (const [field, values] of Object.entries({
    servers: dns.servers,
    searches: dns.searches,
    options: dns.options,
  })) {
    // Values in resolv.conf(5) end at white space. A value must not be able to add a line.
    const bad = values.find((value) => value === "" || /\s/.test(value));
    if (bad !== undefined) {
      refuse(
        `check sandbox config: dns_config.${field} must be single words, got ${JSON.stringify(bad)}`,
      );
    }
  }
}

function checkPorts(config: PodSandboxConfig): void {
  for (const port of config.portMappings) {
    for (const [field, value] of [
      ["container_port", port.containerPort],
      ["host_port", port.hostPort],
    ] as const) {
      if (value < 0 || value > 65_535) {
        refuse(`check sandbox config: ${field} must be 0 to 65535, got ${String(value)}`);
      }
    }
    const known: readonly number[] = [Protocol.TCP, Protocol.UDP, Protocol.SCTP];
    if (!known.includes(port.protocol)) {
      refuse(
        `check sandbox config: port protocol must be TCP, UDP or SCTP, got ${String(port.protocol)}`,
      );
    }
    if (port.hostIp !== "" && ipVersion(port.hostIp) === undefined) {
      refuse(
        `check sandbox config: host_ip must be an IP address, got ${JSON.stringify(port.hostIp)}`,
      );
    }
  }
}

function checkPaths(config: PodSandboxConfig): void {
  if (config.logDirectory !== "" && !config.logDirectory.startsWith("/")) {
    refuse(
      `check sandbox config: log_directory must be absolute, got ${JSON.stringify(config.logDirectory)}`,
    );
  }
  const parent = config.linux?.cgroupParent ?? "";
  if (parent.split("/").includes("..") || parent.includes("\0")) {
    refuse(
      `check sandbox config: cgroup_parent must not leave its hierarchy, got ${JSON.stringify(parent)}`,
    );
  }
}
