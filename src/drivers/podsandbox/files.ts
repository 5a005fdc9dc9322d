import { statSync } from "node:fs";
import { hostname as nodeName } from "node:os";
import { dirname } from "node:path";
import {
  namespaceModes,
  podUsers,
  type Sandbox,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { type FileOwner, type FileStep, runFileSteps } from "../../linux/file/index.ts";
import { mountTmpfs, type TmpfsOptions } from "../../linux/mount/index.ts";
import type { StateLayout } from "./state-layout.ts";

// The size of a pod's /dev/shm in containerd and CRI-O.
const shmBytes = 64 * 1024 * 1024;

// The spare space on the tmpfs of a pod's files: for three pages, of up to 64 KiB each, and for what a
// container adds.
const spareBytes = 256 * 1024;
// For the tmpfs's root, three files and the mount point of /dev/shm. The rest is for extended attributes,
// which the kernel counts as inodes.
const inodes = 16;

// Containers of any user read these files: tighter modes have broken name resolution in other runtimes.
const fileMode = 0o644;

/** The files of the node that are copied into the pod if its config does not define the content. */
const hostFiles = { resolvConf: "/etc/resolv.conf", hosts: "/etc/hosts" } as const;

/** Mode and owner of the sandbox's directory. */
interface DirectoryAccess {
  readonly mode: number;
  readonly owner?: FileOwner;
}

/**
 * Only root can enter the directory of a sandbox. In a user namespace the OCI runtime opens the files as the
 * root of that namespace, so its group may enter, too, but not list it. Containers need no access: the files
 * are mounted for them.
 */
export function directoryAccess(sandbox: Sandbox): DirectoryAccess {
  const users = podUsers(sandbox.config);
  if (users === undefined) return { mode: 0o700 };
  return { mode: 0o710, owner: { uid: 0, gid: users.gids.hostId } };
}

/** Makes the sandbox's directory. Idempotent. */
export async function makeDirectory(paths: StateLayout, sandbox: Sandbox): Promise<void> {
  const path = paths.directory(sandbox.id);
  const parent = { path: dirname(path), mode: 0o711 } as const;
  await runFileSteps([
    { step: "make-directory", ...parent, mayExist: true },
    { step: "make-directory", path, ...directoryAccess(sandbox), mayExist: true },
  ]);
}

/**
 * Mounts the sandbox's own tmpfs on its directory, writes resolv.conf, hosts and hostname into it, and
 * mounts the pod's /dev/shm there. A container that fills one of the files reaches the limit of this tmpfs, and
 * uses no space of the node's state or of other pods.
 */
export async function makeFiles(paths: StateLayout, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  const hasShm = namespaceModes(sandbox.config).ipc !== NamespaceMode.NODE;
  const text = resolvConf(sandbox.config.dnsConfig);
  // As in every pod, root owns the files.
  const made = (name: "resolv.conf" | "hosts" | "hostname") =>
    ({ path: paths.file(id, name), mode: fileMode, owner: ownerOf(sandbox) }) as const;
  // If the node has no such file, the pod gets an empty one.
  await runFileSteps([
    { step: "mount-tmpfs", path: paths.directory(id), options: tmpfsFor(sandbox, text) },
    text === ""
      ? { step: "copy-file", from: hostFiles.resolvConf, ...made("resolv.conf") }
      : { step: "write-file", text, ...made("resolv.conf") },
    { step: "copy-file", from: hostFiles.hosts, ...made("hosts") },
    { step: "write-file", text: `${hostnameOf(sandbox)}\n`, ...made("hostname") },
    ...(hasShm ? [shmDirectory(paths, id)] : []),
  ]);
  if (!hasShm) return;
  await mountTmpfs(paths.shm(id), {
    sizeBytes: shmBytes,
    mode: 0o1777,
    label: sandbox.selinux?.mount,
    ...ownerOf(sandbox),
  });
}

/** The tmpfs of a sandbox's files: room for what is written now, and a little more. */
function tmpfsFor(sandbox: Sandbox, resolvConfText: string): TmpfsOptions {
  const resolvConfBytes =
    resolvConfText === "" ? sizeOf(hostFiles.resolvConf) : Buffer.byteLength(resolvConfText);
  const { mode, owner } = directoryAccess(sandbox);
  return {
    sizeBytes: spareBytes + resolvConfBytes + sizeOf(hostFiles.hosts),
    inodes,
    mode,
    ...owner,
  };
}

/** The size of one of the host's files in bytes, 0 for one that is missing. */
function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return 0;
    throw systemError(`stat "${path}"`, cause);
  }
}

function shmDirectory(paths: StateLayout, id: string): FileStep {
  return { step: "make-directory", path: paths.shm(id), mode: 0o755, mayExist: true };
}

/** Who the pod's root is on the node, where that is not the node's own. */
function ownerOf(sandbox: Sandbox): FileOwner | undefined {
  const users = podUsers(sandbox.config);
  return users && { uid: users.uids.hostId, gid: users.gids.hostId };
}

/** The name of the pod's host: its own, or the node's. */
export function hostnameOf(sandbox: Sandbox): string {
  const own = usesHostNetwork(sandbox.config) ? "" : sandbox.config.hostname;
  return own === "" ? nodeName() : own;
}

/** The text of resolv.conf(5) for a pod's DNS config; empty for an empty config. */
function resolvConf(
  dns:
    | {
        readonly servers: readonly string[];
        readonly searches: readonly string[];
        readonly options: readonly string[];
      }
    | undefined,
): string {
  if (dns === undefined) return "";
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(" ")}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(" ")}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join("");
}
