import type { ContainerUser } from "../../core/container/index.ts";
import type { ContainerConfig } from "../../gen/runtime/v1/api_pb.ts";
import { MountPropagation } from "../../gen/runtime/v1/api_pb.ts";

/**
 * Capabilities that the kernel honours only in the first user namespace (capable(9) without a namespace), so that
 * a container in another one has them to no effect. Those that act on its own namespaces, such as NET_ADMIN, are not here.
 */
const ofTheNode: ReadonlySet<string> = new Set([
  ...["ALL", "AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "DAC_READ_SEARCH", "IPC_LOCK"],
  ...["LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "PERFMON", "SYSLOG", "SYS_ADMIN", "SYS_BOOT"],
  ...["SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME"],
  ...["SYS_TTY_CONFIG", "WAKE_ALARM"],
]);

/**
 * What in a container's config needs the ids of the node, as the end of a sentence about the container;
 * undefined if nothing does.
 *
 * @param cdi whether it requests CDI devices
 * @param length how many ids its pod has
 */
export function nodeIdsOfContainer(
  config: ContainerConfig,
  user: ContainerUser,
  { cdi, length }: { readonly cdi: boolean; readonly length: number },
): string | undefined {
  if (cdi || config.devices.length > 0) return "uses devices of the node";
  const context = config.linux?.securityContext;
  const added = context?.capabilities?.addCapabilities ?? [];
  const strong = added.find((name) => ofTheNode.has(name.toUpperCase().replace(/^CAP_/, "")));
  if (strong !== undefined)
    return `has capability ${JSON.stringify(strong)}, which acts on the node`;
  const shared = config.mounts.find(
    ({ propagation }) => propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL,
  );
  if (shared !== undefined) {
    return `propagates mounts at ${JSON.stringify(shared.containerPath)} to the node`;
  }
  const ids = [user.uid, user.gid, ...user.supplementalGroups];
  const above = ids.find((id) => id >= BigInt(length));
  return above === undefined ? undefined : `runs with id ${above}, which is not below ${length}`;
}
