import { chmod, chown, copyFile, mkdir, writeFile } from "node:fs/promises";
import { hostname as nodeName } from "node:os";
import {
  namespaceModes,
  podUsers,
  type Sandbox,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { mountTmpfs } from "../../linux/index.ts";
import type { Places } from "./places.ts";

// The peers' size of a pod's /dev/shm.
const shmBytes = 64 * 1024 * 1024;

// Containers of any user read these files, and walk the folders to them: users of runtimes have
// lost their name resolution to tighter modes more than once.
const fileMode = 0o644;
const folderMode = 0o711;

/** Makes the sandbox's folder. Idempotent. */
export async function makeFolder(places: Places, id: string): Promise<void> {
  await mkdir(places.folder(id), { recursive: true, mode: folderMode });
  await chmod(places.folder(id), folderMode);
}

/** Writes resolv.conf, hosts and hostname into the sandbox's folder, and mounts its /dev/shm there. */
export async function makeFiles(places: Places, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  const [resolvConf, hosts, hostname] = (["resolv.conf", "hosts", "hostname"] as const).map(
    (name) => places.file(id, name),
  ) as [string, string, string];
  await Promise.all([
    writeResolvConf(resolvConf, sandbox),
    copyWithMode("/etc/hosts", hosts),
    write(hostname, `${hostnameOf(sandbox)}\n`),
    makeShm(places, sandbox),
  ]);
  const owner = ownerOf(sandbox);
  if (owner === undefined) return;
  // As in every pod, the files are root's in it.
  await Promise.all([resolvConf, hosts, hostname].map((path) => chown(path, owner.uid, owner.gid)));
}

/** Who the pod's root is on the node, where that is not the node's own. */
function ownerOf(sandbox: Sandbox): { readonly uid: number; readonly gid: number } | undefined {
  const users = podUsers(sandbox.config);
  return users && { uid: users.uids.hostId, gid: users.gids.hostId };
}

/** The name of the pod's host: its own, or the node's. */
export function hostnameOf(sandbox: Sandbox): string {
  const own = usesHostNetwork(sandbox.config) ? "" : sandbox.config.hostname;
  return own === "" ? nodeName() : own;
}

async function makeShm(places: Places, sandbox: Sandbox): Promise<void> {
  if (namespaceModes(sandbox.config).ipc === NamespaceMode.NODE) return;
  await mkdir(places.shm(sandbox.id), { recursive: true });
  await mountTmpfs(places.shm(sandbox.id), {
    sizeBytes: shmBytes,
    mode: 0o1777,
    label: sandbox.selinux?.mount,
    ...ownerOf(sandbox),
  });
}

async function writeResolvConf(path: string, sandbox: Sandbox): Promise<void> {
  const text = resolvConf(sandbox.config.dnsConfig);
  if (text === "") await copyWithMode("/etc/resolv.conf", path);
  else await write(path, text);
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

async function copyWithMode(from: string, to: string): Promise<void> {
  try {
    await copyFile(from, to);
    await chmod(to, fileMode);
  } catch (error) {
    // A node without the file has nothing to pass on; the pod still finds one.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    await write(to, "");
  }
}

async function write(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: fileMode });
  await chmod(path, fileMode); // whatever the daemon's umask is
}
