// A door for `davit doctor`: what the daemon would make of a directory of network configurations, and
// whether it works. Nothing of it is part of a daemon that runs.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { type NetworkReading, type PluginStep, tryPlugins } from "../drivers/cni/index.ts";
import { findProgram, run } from "../linux/process/index.ts";
import { makePrivateBind, unmount } from "../linux/mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../linux/namespace/index.ts";
import { readFiles, readFilesInNamespace } from "../linux/file/index.ts";

export { type NetworkReading, type PluginStep, readNetwork } from "../drivers/cni/index.ts";

/** How a trial went. */
export interface NetworkTrial {
  readonly steps: readonly PluginStep[];
  /** The addresses that ADD gave. */
  readonly ips: readonly string[];
  /** What the plugins did not take away again, for a person. */
  readonly left: readonly string[];
  /** Where a plugin turned forwarding on; it is off again. */
  readonly turnsForwardingOn: readonly ("ipv4" | "ipv6")[];
}

const forwardingFiles = [
  "/proc/sys/net/ipv4/ip_forward",
  "/proc/sys/net/ipv6/conf/all/forwarding",
] as const;

/**
 * A network namespace for a trial, pinned in a scratch directory. Only its own: mounts in it reach no
 * other mount namespace.
 */
export async function withScratchNamespace<T>(
  directory: string,
  use: (netnsPath: string) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(directory, `davit-doctor-${process.pid}-`));
  const pins = join(scratch, "ns");
  const netnsPath = join(pins, "net");
  try {
    await mkdir(pins);
    await makePrivateBind(pins);
    await pinNamespaces({ net: netnsPath });
    return await use(netnsPath);
  } finally {
    await unpinNamespace(netnsPath);
    await unmount(pins);
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Attaches a scratch namespace to the network on this host, and detaches it: exactly the calls of a
 * pod's life. What the plugins keep by design and was not there before is taken back, too: a bridge
 * without ports, the directory of host-local, and forwarding. Chains that plugins share between pods
 * stay (CNI-FORWARD of the firewall plugin), as after the last pod.
 */
export async function tryNetwork(
  reading: NetworkReading,
  options: {
    readonly pluginTimeoutMs: number;
    /** Where the scratch namespace is pinned. */
    readonly directory: string;
    readonly searchPath: string;
    readonly signal: AbortSignal;
  },
): Promise<NetworkTrial> {
  const bridges = bridgesOf(reading);
  const ipams = ipamDirectoriesOf(reading);
  const linksBefore = await linkNames();
  const ipamsBefore = ipams.filter(existsSync);
  const forwardingBefore = await readForwarding();
  const id = `davit-doctor-${randomBytes(8).toString("hex")}`;
  const left: string[] = [];
  const trial = await withScratchNamespace(options.directory, async (netnsPath) => {
    let added: readonly string[] = [];
    const onAdded = async (): Promise<void> => {
      added = await linkNames(netnsPath);
    };
    const { pluginTimeoutMs, signal } = options;
    const ended = await tryPlugins(reading, { id, netnsPath, pluginTimeoutMs, signal, onAdded });
    const stays = (await linkNames(netnsPath)).filter((name) => name !== "lo");
    if (stays.some((name) => added.includes(name))) {
      left.push(`after DEL the namespace still has ${stays.join(", ")}`);
    }
    return ended;
  });
  left.push(...(await reservedAddresses(ipams, id)));
  for (const bridge of bridges.filter((name) => !linksBefore.includes(name))) {
    left.push(...(await removeBridge(bridge, options.searchPath)));
  }
  for (const directory of ipams.filter((each) => !ipamsBefore.includes(each))) {
    await removeIpamDirectory(directory);
  }
  return { ...trial, left, turnsForwardingOn: await restoreForwarding(forwardingBefore) };
}

async function readForwarding(): Promise<readonly string[]> {
  return await Promise.all(
    forwardingFiles.map((file) =>
      readFile(file, "latin1").then(
        (text) => text.trim(),
        () => "", // no IPv6
      ),
    ),
  );
}

/** Puts forwarding back to what it was, and says for which families that was needed. */
async function restoreForwarding(
  before: readonly string[],
): Promise<NetworkTrial["turnsForwardingOn"]> {
  const after = await readForwarding();
  const changed: ("ipv4" | "ipv6")[] = [];
  for (const [index, file] of forwardingFiles.entries()) {
    const old = before[index] ?? "";
    if (after[index] === old) continue;
    await writeFile(file, old);
    changed.push(index === 0 ? "ipv4" : "ipv6");
  }
  return changed;
}

/** The interfaces of a network namespace; of ours, if none is named. */
async function linkNames(netnsPath?: string): Promise<readonly string[]> {
  const file = "/proc/thread-self/net/dev";
  const [text] =
    netnsPath === undefined
      ? await readFiles([file])
      : await readFilesInNamespace({ net: netnsPath }, [file]);
  return (text ?? "").split("\n").flatMap((line) => /^\s*([^\s:]+):/.exec(line)?.[1] ?? []);
}

function bridgesOf({ network }: NetworkReading): readonly string[] {
  const bridges = (network?.plugins ?? []).filter(({ type }) => type === "bridge");
  return bridges.map(({ config }) =>
    typeof config["bridge"] === "string" ? config["bridge"] : "cni0",
  );
}

/** Where host-local notes the addresses of this network (its documentation, "dataDir"). */
function ipamDirectoriesOf({ network }: NetworkReading): readonly string[] {
  return (network?.plugins ?? []).flatMap(({ config }) => {
    const ipam = config["ipam"] as { readonly type?: unknown; readonly dataDir?: unknown } | null;
    if (typeof ipam !== "object" || ipam?.type !== "host-local") return [];
    const dataDir = typeof ipam.dataDir === "string" ? ipam.dataDir : "/var/lib/cni/networks";
    return [join(dataDir, network?.name ?? "")];
  });
}

async function reservedAddresses(directories: readonly string[], id: string): Promise<string[]> {
  const left: string[] = [];
  for (const directory of directories) {
    const names = await readdir(directory).catch(() => []);
    const texts = await readFiles(names.map((name) => join(directory, name)));
    const ours = names.filter((_, index) => texts[index]?.startsWith(id) === true);
    for (const name of ours) {
      left.push(`after DEL the address ${name} was still reserved in ${directory}; it was freed`);
      await rm(join(directory, name), { force: true });
    }
  }
  return left;
}

/** Removes a bridge that the trial made, unless a pod is on it by now. */
async function removeBridge(bridge: string, searchPath: string): Promise<readonly string[]> {
  if (!(await linkNames()).includes(bridge)) return [];
  const ip = findProgram("ip", searchPath);
  if (ip === undefined) return [`the bridge ${bridge} stays: there is no ip to remove it with`];
  const call = async (args: readonly string[]): Promise<string> => {
    const result = await run({ file: ip, args, env: { PATH: searchPath }, timeoutMs: 5_000 });
    return result.code === 0 ? result.stdout.toString() : result.stderr.toString().trim();
  };
  if ((await call(["-o", "link", "show", "master", bridge])) !== "") return [];
  const refusal = await call(["link", "delete", bridge, "type", "bridge"]);
  return refusal === "" ? [] : [`the bridge ${bridge} stays: ${refusal}`];
}

/** Removes what host-local makes besides addresses; a directory with an address in it stays. */
async function removeIpamDirectory(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  if (!names.every((name) => name === "lock" || name.startsWith("last_reserved_ip"))) return;
  for (const name of names) await rm(join(directory, name), { force: true });
  await rmdir(directory).catch((error: unknown) => messageOf(error));
}
