import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { namespaceModes } from "./sandbox.ts";
import { podUsers } from "./user-namespace.ts";

// The sysctls of an IPC namespace: ipc_namespaces(7).
const ipcSysctl = /^(kernel\.(shm[a-z_]*|msg[a-z_]*|sem|auto_msgmni)|fs\.mqueue\..+)$/;
const netSysctl = /^net\..+/;

/** The name of a sysctl with dots, as in Kubernetes: `net/ipv4/x` becomes `net.ipv4.x`. */
function dotted(key: string): string {
  const dot = key.indexOf(".");
  const slash = key.indexOf("/");
  // sysctl(8): the first separator decides; in the slash form a dot is part of a name (eth0.1).
  return slash >= 0 && (dot < 0 || slash < dot)
    ? key.replace(/[./]/g, (separator) => (separator === "/" ? "." : "/"))
    : key;
}

/** Rejects sysctls that are not in a namespace of the pod, because they would change the node. */
export function checkSysctls(config: PodSandboxConfig): void {
  const { network, ipc } = namespaceModes(config);
  for (const [key, value] of Object.entries(config.linux?.sysctls ?? {})) {
    const name = dotted(key);
    const refuse = (why: string): never => {
      throw new RuntimeError("invalid-argument", `check sandbox config: sysctl "${key}" ${why}`);
    };
    if (!/^[A-Za-z0-9._/-]+$/.test(key) || key.includes("..")) refuse("is not a sysctl's name");
    if (/[\n\0]/.test(value)) refuse(`has a value of several lines: ${JSON.stringify(value)}`);
    if (netSysctl.test(name)) {
      if (network === NamespaceMode.NODE) refuse("cannot be set for a pod on the host network");
    } else if (ipcSysctl.test(name)) {
      if (ipc === NamespaceMode.NODE) refuse("cannot be set for a pod in the host's IPC namespace");
    } else {
      refuse(
        "is not namespaced; only net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* are",
      );
    }
  }
}

/**
 * The sysctls to write for a pod: those of its config, which override the defaults of every pod with
 * its own network. The defaults are those of containerd with `enable_unprivileged_ports` and
 * `enable_unprivileged_icmp`.
 */
export function podSysctls(
  config: PodSandboxConfig,
): readonly (readonly [key: string, value: string])[] {
  const wanted = new Map<string, string>();
  if (namespaceModes(config).network !== NamespaceMode.NODE) {
    wanted.set("net.ipv4.ip_unprivileged_port_start", "0");
    // Every group may open ICMP echo sockets: icmp(7), ping_group_range. In a user namespace the kernel takes
    // the groups for those of the namespace, and accepts only mapped ones.
    const groups = podUsers(config)?.gids.length ?? 2 ** 31;
    wanted.set("net.ipv4.ping_group_range", `0 ${groups - 1}`);
  }
  for (const [key, value] of Object.entries(config.linux?.sysctls ?? {}))
    wanted.set(dotted(key), value);
  return [...wanted];
}
