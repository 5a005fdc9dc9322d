import { RuntimeError } from "../../base/errors.ts";
import { writeSysctlFiles } from "./native.ts";

/** The namespaces whose sysctls are written; those of this process if not given. */
export interface SysctlNamespaces {
  readonly net?: string;
  readonly ipc?: string;
  /** The user namespace that they belong to, if not that of this process. */
  readonly user?: string;
}

/**
 * Writes sysctls in the given namespaces, in order, on another thread. Keys have
 * dots or slashes, as in sysctl(8). Rejects at the first failure, naming the file; earlier sysctls
 * stay written. An invalid key is `invalid-argument`, and then nothing is written.
 */
export async function writeSysctls(
  namespaces: SysctlNamespaces,
  entries: readonly (readonly [key: string, value: string])[],
): Promise<void> {
  const files = entries.map(([key, value]) => ({ path: sysctlPath(key), value }));
  if (files.length > 0) await writeSysctlFiles(namespaces, files);
}

/**
 * The file of a sysctl. The first `.` or `/` in the key is the separator, and the other
 * character is part of a name (sysctl(8)): both `net.ipv4.conf.eth0/1.forwarding` and
 * `net/ipv4/conf/eth0.1/forwarding` mean the interface `eth0.1`.
 */
export function sysctlPath(key: string): string {
  const dotted = key.search(/[./]/) >= 0 && key[key.search(/[./]/)] === ".";
  const path = dotted ? key.replace(/[./]/g, (c) => (c === "." ? "/" : ".")) : key;
  const parts = path.split("/");
  const isValid = parts.length > 1 && parts.every((part) => /^[a-zA-Z0-9._-]+$/.test(part));
  if (!isValid || parts.some((part) => part === "." || part === "..")) {
    throw new RuntimeError("invalid-argument", `write sysctl: invalid name "${key}"`);
  }
  return `/proc/sys/${path}`;
}
