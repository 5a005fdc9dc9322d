import {
  type IdRange,
  isSameUserNamespace,
  namespaceModes,
  podUsers,
} from "../core/sandbox/index.ts";
import type { NamespaceOption, PodSandboxConfig } from "../gen/runtime/v1/api_pb.ts";
import { type ContainerConfig, NamespaceMode } from "../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "./input.ts";
import { enumName, refuse, refuseHere } from "./refuse.ts";
import type { OciIdMapping, OciLinux, OciNamespace } from "../core/oci/index.ts";

/**
 * The namespaces of a container.
 *
 * User, network, IPC and UTS are the pod's: its pins, or the host's where the pod has none (a namespace
 * that is not listed is the runtime's own, and the daemon runs in the host's). PID follows the
 * container's own mode; POD is what its pod has, so a namespace of its own in a pod with CONTAINER.
 * Mount is always new; cgroup is new on v2, but not for a privileged container, which sees the node's
 * whole tree. `failed-precondition` for a namespace to join that does not exist.
 */
export function containerNamespaces(
  input: Pick<
    SpecInput,
    "config" | "sandbox" | "sandboxPins" | "sandboxPid" | "targetPid" | "host"
  >,
): readonly OciNamespace[] {
  const { config, sandbox, sandboxPins, host } = input;
  const pod = namespaceModes(sandbox.config);
  const privileged = config.linux?.securityContext?.privileged ?? false;
  return [
    ...userNamespace(sandbox.config, sandboxPins.user),
    ...pidNamespace(input),
    ...podNamespace("network", pod.network, sandboxPins.net),
    ...podNamespace("ipc", pod.ipc, sandboxPins.ipc),
    // A pod on the node's network has the node's hostname with it.
    ...podNamespace("uts", pod.network, sandboxPins.uts),
    { type: "mount" },
    ...(host.cgroupVersion === 2 && !privileged ? [{ type: "cgroup" as const }] : []),
  ];
}

function podNamespace(
  type: "network" | "ipc" | "uts",
  mode: NamespaceMode,
  pin: string | undefined,
): readonly OciNamespace[] {
  if (mode === NamespaceMode.NODE) return [];
  // Without this a container would quietly run in the host's namespace.
  if (pin === undefined) refuseHere(`the pod's ${type} namespace is gone, make a new sandbox`);
  return [{ type, path: pin }];
}

function userNamespace(pod: PodSandboxConfig, pin: string | undefined): readonly OciNamespace[] {
  if (podUsers(pod) === undefined) return [];
  if (pin === undefined)
    refuseHere("the pod's user namespace does not exist any more; create a new sandbox");
  return [{ type: "user", path: pin }];
}

/** The ids of the pod's user namespace, if it has its own. */
export function containerUsers(
  input: Pick<SpecInput, "sandbox">,
): Pick<OciLinux, "uidMappings" | "gidMappings"> {
  const users = podUsers(input.sandbox.config);
  if (users === undefined) return {};
  return { uidMappings: idMappings([users.uids]), gidMappings: idMappings([users.gids]) };
}

/** Ranges of ids as the runtime-spec has them. */
export function idMappings(ranges: readonly IdRange[]): readonly OciIdMapping[] {
  return ranges.map(({ containerId, hostId, length }) => ({
    containerID: containerId,
    hostID: hostId,
    size: length,
  }));
}

function pidNamespace(
  input: Pick<SpecInput, "config" | "sandbox" | "sandboxPid" | "targetPid">,
): readonly OciNamespace[] {
  const podMode = namespaceModes(input.sandbox.config).pid;
  const options = input.config.linux?.securityContext?.namespaceOptions;
  const mode = options?.pid ?? NamespaceMode.POD;
  if (mode === NamespaceMode.NODE) return [];
  if (mode === NamespaceMode.CONTAINER) return [{ type: "pid" }];
  if (mode === NamespaceMode.TARGET) {
    return [{ type: "pid", path: pidPath(input.targetPid, targetGone(options?.targetId ?? "")) }];
  }
  // POD is also what a client sends that sets no mode: the pod decides.
  if (podMode === NamespaceMode.NODE) return [];
  if (podMode === NamespaceMode.CONTAINER) return [{ type: "pid" }];
  return [{ type: "pid", path: pidPath(input.sandboxPid, podNamespaceGone) }];
}

const podNamespaceGone = "the pod's PID namespace is gone, make a new sandbox";

function targetGone(target: string): string {
  return `container "${target}", whose PID namespace is wanted, does not run`;
}

function pidPath(pid: number | undefined, missing: string): string {
  return pid === undefined ? refuseHere(missing) : `/proc/${pid}/ns/pid`;
}

function checkUsers(own: NamespaceOption | undefined, pod: NamespaceOption | undefined): void {
  if (isSameUserNamespace(own?.usernsOptions, pod?.usernsOptions)) return;
  refuse("namespace_options.userns_options is not that of the pod, a container has its pod's ids");
}

/**
 * Refuses modes that mean nothing and those that contradict the pod: a container never gets a
 * namespace of the node that its pod does not have.
 */
export function checkNamespaceOptions(config: ContainerConfig, sandbox: PodSandboxConfig): void {
  const options = config.linux?.securityContext?.namespaceOptions;
  checkUsers(options, sandbox.linux?.securityContext?.namespaceOptions);
  if (options === undefined) return;
  const pod = namespaceModes(sandbox);
  for (const field of ["network", "ipc", "pid"] as const) {
    const mode = options[field];
    const allowed: readonly NamespaceMode[] =
      field === "pid" ? Object.values(NamespaceMode) : [NamespaceMode.POD, NamespaceMode.NODE];
    if (!allowed.includes(mode)) {
      refuse(
        `namespace_options.${field} cannot be ${enumName(NamespaceMode, mode)}, it can be ${allowed.map((m) => enumName(NamespaceMode, m)).join(", ")}`,
      );
    }
    if (mode === NamespaceMode.NODE && pod[field] !== NamespaceMode.NODE) {
      refuse(`namespace_options.${field} is NODE, but the pod's own is not`);
    }
  }
  if (options.pid === NamespaceMode.TARGET && options.targetId === "") {
    refuse("namespace_options.target_id is empty, pid TARGET needs it");
  }
  if (options.pid !== NamespaceMode.TARGET && options.targetId !== "") {
    refuse("namespace_options.target_id is only for pid TARGET");
  }
}
