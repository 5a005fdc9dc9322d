import { runJob } from "../addon.ts";

/** Paths of the pins of new namespaces; a namespace without a path is not made. */
export interface PinPaths {
  readonly net?: string | undefined;
  readonly ipc?: string | undefined;
  readonly uts?: string | undefined;
  /** The name inside the new uts namespace. */
  readonly hostname?: string | undefined;
}

/** own. Makes namespaces and pins them. EEXIST: a file is at one of the paths. ENOSPC: too many namespaces. */
export async function pinNamespaces({ net, ipc, uts, hostname }: PinPaths): Promise<void> {
  await runJob("pinNamespaces", [net ?? null, ipc ?? null, uts ?? null, hostname ?? null]);
}

/**
 * pool. Makes a user namespace and namespaces that belong to it, and pins them. The maps are lines of
 * /proc/PID/uid_map and gid_map (user_namespaces(7)). EINVAL, EPERM: the kernel does not accept a map.
 */
export async function pinUserNamespace(
  pins: PinPaths & { readonly user: string; readonly uidMap: string; readonly gidMap: string },
): Promise<void> {
  const { user, net, ipc, uts, hostname, uidMap, gidMap } = pins;
  await runJob("pinUserNamespace", [
    user,
    net ?? null,
    ipc ?? null,
    uts ?? null,
    hostname ?? null,
    uidMap,
    gidMap,
  ]);
}

/**
 * pool. Removes the mounts and files of pinned namespaces; a namespace ends with its last process. Tries all and
 * rejects with the first failure. Does nothing where there is no file. A file without a mount, as an earlier boot
 * leaves it, is removed, too. EBUSY: a directory is at the path.
 */
export async function unpinNamespaces(paths: readonly string[]): Promise<void> {
  await runJob("unpinNamespaces", paths);
}

/**
 * own; pool with `user`, where a process writes as root of that user namespace. Writes sysctls in the given
 * namespaces, this process's own for those not given. ENOENT: no such sysctl here. EINVAL: the kernel refuses the
 * value.
 */
export async function writeSysctlFiles(
  namespaces: {
    readonly net?: string | undefined;
    readonly ipc?: string | undefined;
    readonly user?: string | undefined;
  },
  files: readonly { readonly path: string; readonly value: string }[],
): Promise<void> {
  const { net = null, ipc = null, user } = namespaces;
  const values = files.flatMap(({ path, value }) => [path, value]);
  if (user === undefined) await runJob("writeSysctls", [net, ipc, ...values]);
  else await runJob("writeUserSysctls", [user, net, ipc, ...values]);
}
