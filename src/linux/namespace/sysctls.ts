import { RuntimeError } from "../../base/errors.ts";
import { nativeJob } from "../native.ts";

/** The namespaces whose sysctls are meant; ours for those not given. */
export interface SysctlNamespaces {
  readonly net?: string;
  readonly ipc?: string;
  /** The user namespace that they belong to, where that is not ours. */
  readonly user?: string;
}

/**
 * Writes sysctls in the given namespaces, in order, on a thread of its own. Keys are written with
 * dots or slashes, as sysctl(8) takes them. Rejects at the first that fails, naming its file; those
 * before it stay written. A key that is no key is `invalid-argument`, and then nothing is written.
 */
export async function writeSysctls(
  namespaces: SysctlNamespaces,
  entries: readonly (readonly [key: string, value: string])[],
): Promise<void> {
  const files = entries.flatMap(([key, value]) => [sysctlPath(key), value]);
  if (files.length === 0) return;
  const { net = null, ipc = null, user } = namespaces;
  if (user === undefined) await nativeJob("writeSysctls", [net, ipc, ...files]);
  else await nativeJob("writeUserSysctls", [user, net, ipc, ...files]);
}

/**
 * The file of a sysctl. The separator that comes first in the key is the separator, and the other
 * character is then part of a name (sysctl(8)): both `net.ipv4.conf.eth0/1.forwarding` and
 * `net/ipv4/conf/eth0.1/forwarding` mean the interface `eth0.1`.
 */
export function sysctlPath(key: string): string {
  const dotted = key.search(/[./]/) >= 0 && key[key.search(/[./]/)] === ".";
  const path = dotted ? key.replace(/[./]/g, (c) => (c === "." ? "/" : ".")) : key;
  const parts = path.split("/");
  const sound = parts.length > 1 && parts.every((part) => /^[a-zA-Z0-9._-]+$/.test(part));
  if (!sound || parts.some((part) => part === "." || part === "..")) {
    throw new RuntimeError("invalid-argument", `write sysctl: not a sysctl's name: "${key}"`);
  }
  return `/proc/sys/${path}`;
}
