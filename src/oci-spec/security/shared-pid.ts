import { namespaceModes, podUsers } from "../../core/sandbox/index.ts";
import type { ContainerConfig, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { grantedCapabilities } from "./capabilities.ts";
import type { SpecHost } from "../input.ts";
import { refuseHere } from "../refuse.ts";

type Config = Pick<ContainerConfig, "linux">;

/**
 * Refuses, with `failed-precondition`, a container that would share a PID namespace and has CAP_SYS_PTRACE, or
 * that would join the PID namespace of a container that has it.
 *
 * The OCI runtime joins the PID namespace of a container before it leaves the node's file system. For that
 * moment, a process that may trace it reaches the node's root at /proc/PID/root (ptrace(2), "Ptrace access
 * mode checking"). Not refused, since nothing is gained there:
 *
 * - a PID namespace of the container's own: no other container starts in it. A later command joins it together with
 *   the container's mounts;
 * - a pod in a user namespace: the runtime's memory belongs to the node's (`mm->user_ns`), where the
 *   capability does not count;
 * - a privileged container, which has the node without this.
 *
 * @param target the config of the container that `target_id` names, with pid TARGET
 */
export function checkSharedPid(
  config: Config,
  pod: PodSandboxConfig,
  target: Config | undefined,
  host: Pick<SpecHost, "capabilities">,
): void {
  if (!sharesPid(config, pod) || podUsers(pod) !== undefined) return;
  const why =
    "which could then take over the OCI runtime of the next container, so that runtime.ptrace_in_shared_pid refuses it";
  if (canTrace(config, host)) {
    refuseHere(
      `SYS_PTRACE is given to a container that shares a PID namespace, ${why}; leave the capability out, or set namespace_options.pid to CONTAINER`,
    );
  }
  if (target !== undefined && canTrace(target, host)) {
    refuseHere(
      `namespace_options.target_id names a container that has SYS_PTRACE, ${why}; use a target without that capability`,
    );
  }
}

/** Whether the container's first process joins a PID namespace that others are in. */
function sharesPid({ linux }: Config, pod: PodSandboxConfig): boolean {
  const mode = linux?.securityContext?.namespaceOptions?.pid ?? NamespaceMode.POD;
  if (mode === NamespaceMode.TARGET) return true;
  return mode === NamespaceMode.POD && namespaceModes(pod).pid === NamespaceMode.POD;
}

function canTrace({ linux }: Config, host: Pick<SpecHost, "capabilities">): boolean {
  const context = linux?.securityContext;
  if (context === undefined || context.privileged) return false;
  // A program of the image that is setuid gets the bounding set, for any user.
  return grantedCapabilities(context, host.capabilities).bounding.includes("CAP_SYS_PTRACE");
}
