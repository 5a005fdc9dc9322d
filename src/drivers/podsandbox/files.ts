import { hostname as nodeName } from "node:os";
import {
  namespaceModes,
  podUsers,
  type Sandbox,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { type FileOwner, type FileStep, mountTmpfs, runFileSteps } from "../../linux/index.ts";
import type { Places } from "./places.ts";

// The peers' size of a pod's /dev/shm.
const shmBytes = 64 * 1024 * 1024;

// Containers of any user read these files, and walk the folders to them: users of runtimes have
// lost their name resolution to tighter modes more than once.
const fileMode = 0o644;
const folderMode = 0o711;

/** Makes the sandbox's folder. Idempotent. */
export async function makeFolder(places: Places, id: string): Promise<void> {
  const path = places.folder(id);
  await runFileSteps([{ step: "make-folder", path, mode: folderMode, mayExist: true }]);
}

/** Writes resolv.conf, hosts and hostname into the sandbox's folder, and mounts its /dev/shm there. */
export async function makeFiles(places: Places, sandbox: Sandbox): Promise<void> {
  const { id } = sandbox;
  const hasShm = namespaceModes(sandbox.config).ipc !== NamespaceMode.NODE;
  const text = resolvConf(sandbox.config.dnsConfig);
  // As in every pod, the files are root's in it.
  const made = (name: "resolv.conf" | "hosts" | "hostname") =>
    ({ path: places.file(id, name), mode: fileMode, owner: ownerOf(sandbox) }) as const;
  // A node without a file has nothing to pass on; the pod still finds one.
  await runFileSteps([
    text === ""
      ? { step: "copy-file", from: "/etc/resolv.conf", ...made("resolv.conf") }
      : { step: "write-file", text, ...made("resolv.conf") },
    { step: "copy-file", from: "/etc/hosts", ...made("hosts") },
    { step: "write-file", text: `${hostnameOf(sandbox)}\n`, ...made("hostname") },
    ...(hasShm ? [shmFolder(places, id)] : []),
  ]);
  if (!hasShm) return;
  await mountTmpfs(places.shm(id), {
    sizeBytes: shmBytes,
    mode: 0o1777,
    label: sandbox.selinux?.mount,
    ...ownerOf(sandbox),
  });
}

function shmFolder(places: Places, id: string): FileStep {
  return { step: "make-folder", path: places.shm(id), mode: 0o755, mayExist: true };
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
