import type { Capability } from "../../gen/runtime/v1/api_pb.ts";
import { quoted, refuse, refuseHere } from "../refuse.ts";
import type { OciCapabilities } from "../../core/oci/index.ts";

/** The capabilities of Linux, by their number (include/uapi/linux/capability.h). */
export const linuxCapabilities: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
];

/** What a container has that asks for nothing: the set that images expect since Docker. */
export const defaultCapabilities: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SYS_CHROOT",
  "CAP_MKNOD",
  "CAP_AUDIT_WRITE",
  "CAP_SETFCAP",
];

const all = "CAP_ALL";

/**
 * The capabilities of a container's process, in the kernel's order.
 *
 * Never more than `host`, the daemon's own bounding set: nothing can be granted beyond that
 * (capabilities(7)). ALL counts first, and dropped ALL wins over added ALL; then single ones are
 * added and last single ones dropped. An ambient capability is in all five sets, since the kernel
 * takes it only from permitted and inheritable. Privileged is all of `host`, whatever else is
 * asked. `invalid-argument` for an added name that does not exist, `failed-precondition` for one
 * that `host` lacks. A dropped name that does not exist is not granted either way.
 */
export function grantedCapabilities(
  request: { readonly capabilities?: Capability | undefined; readonly privileged: boolean },
  host: readonly string[],
): OciCapabilities {
  if (request.privileged) return sets(new Set(host), new Set());
  const add = capabilityNames(request.capabilities?.addCapabilities);
  const ambient = capabilityNames(request.capabilities?.addAmbientCapabilities);
  const drop = capabilityNames(request.capabilities?.dropCapabilities);

  const granted = new Set(
    drop.has(all) ? [] : add.has(all) ? host : defaultCapabilities.filter((c) => host.includes(c)),
  );
  const ambientGranted = new Set(ambient.has(all) ? host : []);
  for (const name of singles(add, host)) granted.add(name);
  for (const name of singles(ambient, host)) ambientGranted.add(name);
  for (const name of ambientGranted) granted.add(name);
  for (const name of drop) {
    granted.delete(name);
    ambientGranted.delete(name);
  }
  return sets(granted, ambientGranted);
}

/** Names as the kernel has them: `NET_ADMIN`, `net_admin` and `CAP_NET_ADMIN` are one. */
export function capabilityNames(requested: readonly string[] | undefined): ReadonlySet<string> {
  return new Set(
    requested?.map((name) => {
      const upper = name.toUpperCase();
      return upper.startsWith("CAP_") ? upper : `CAP_${upper}`;
    }),
  );
}

function singles(requested: ReadonlySet<string>, host: readonly string[]): readonly string[] {
  const wanted = [...requested].filter((name) => name !== all);
  for (const name of wanted) {
    if (host.includes(name)) continue;
    if (!linuxCapabilities.includes(name)) {
      refuse(`capabilities: unknown capability ${quoted(name)}`);
    }
    refuseHere(`capabilities: ${name} cannot be given, this daemon does not have it itself`);
  }
  return wanted;
}

function sets(granted: ReadonlySet<string>, ambient: ReadonlySet<string>): OciCapabilities {
  const list = inKernelOrder(granted);
  const most = { bounding: list, effective: list, permitted: list };
  if (ambient.size === 0) return most;
  const ambientList = inKernelOrder(ambient);
  return { ...most, inheritable: ambientList, ambient: ambientList };
}

function inKernelOrder(set: ReadonlySet<string>): readonly string[] {
  const known = linuxCapabilities.filter((name) => set.has(name));
  const newer = [...set].filter((name) => !linuxCapabilities.includes(name));
  return [...known, ...newer.toSorted()];
}
