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
import type { StateLayout } from "./places.ts";

// The peers' size of a pod's /dev/shm.
const shmBytes = 64 * 1024 * 1024;

// The room that is left on the tmpfs of a pod's files: for three whole pages, which have up to 64 KiB, and
// for what a container adds.
const spareBytes = 256 * 1024;
// Of the tmpfs's root, three files and the mount point of /dev/shm. The rest is for extended attributes, which
// the kernel charges as inodes, too.
const inodes = 16;

// Containers of any user read these files: users of runtimes have lost their name resolution to tighter
// modes more than once.
const fileMode = 0o644;

/** What the pod's files are copies of where its config does not say what is in them. */
const hostFiles = { resolvConf: "/etc/resolv.conf", hosts: "/etc/hosts" } as const;

/** Who can enter the sandbox's directory. */
interface DirectoryAccess {
  readonly mode: number;
  readonly owner?: FileOwner;
}

/**
 * Only root enters the directory of a sandbox, and nobody lists it. In a user namespace the OCI runtime
 * walks to the files as the root of that namespace, so its group may enter, too. Containers never walk
 * there: the files are mounted for them.
 */
export function directoryAccess(sandbox: Sandbox): DirectoryAccess {
  const users = podUsers(sandbox.config);
  if (users === undefined) return { mode: 0o700 };
  return { mode: 0o710, owner: { uid: 0, gid: users.gids.hostId } };
}

/** Makes the sandbox's directory. Idempotent. */
export async function makeDirectory(places: StateLayout, sandbox: Sandbox): Promise<void> {
  const path = places.directory(sandbox.id);
  const parent = { path: dirname(path), mode: 0o711 } as const;
  await runFileSteps([
    { step: "make-directory", ...parent, mayExist: true },
    { step: "make-directory", path, ...directoryAccess(sandbox), mayExist: true },
  ]);
}

/**
 * Mounts the sandbox's own tmpfs on its directory, writes resolv.conf, hosts and hostname into it, and
 * mounts the pod's /dev/shm there. A container that fills one of the files meets the limit of this tmpfs, and
 * takes no space from the node's state or from other pods.
 */
export async function makeFiles(places: StateLayout, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  const hasShm = namespaceModes(sandbox.config).ipc !== NamespaceMode.NODE;
  const text = resolvConf(sandbox.config.dnsConfig);
  // As in every pod, the files are root's in it.
  const made = (name: "resolv.conf" | "hosts" | "hostname") =>
    ({ path: places.file(id, name), mode: fileMode, owner: ownerOf(sandbox) }) as const;
  // A node without a file has nothing to pass on; the pod still finds one.
  await runFileSteps([
    { step: "mount-tmpfs", path: places.directory(id), options: tmpfsFor(sandbox, text) },
    text === ""
      ? { step: "copy-file", from: hostFiles.resolvConf, ...made("resolv.conf") }
      : { step: "write-file", text, ...made("resolv.conf") },
    { step: "copy-file", from: hostFiles.hosts, ...made("hosts") },
    { step: "write-file", text: `${hostnameOf(sandbox)}\n`, ...made("hostname") },
    ...(hasShm ? [shmDirectory(places, id)] : []),
  ]);
  if (!hasShm) return;
  await mountTmpfs(places.shm(id), {
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
    throw systemError(`look at "${path}"`, cause);
  }
}

function shmDirectory(places: StateLayout, id: string): FileStep {
  return { step: "make-directory", path: places.shm(id), mode: 0o755, mayExist: true };
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

/** The text of resolv.conf(5) for a pod's DNS config; empty when it says nothing. */
export function resolvConf(
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
