// Probes a pod network: reads the CNI configuration as the daemon does, and attaches a scratch network
// namespace with it.
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
import { reservationDirectories } from "./host-local.ts";

export { type NetworkReading, type PluginStep, readNetwork } from "../drivers/cni/index.ts";

/** The result of a probe. */
export interface NetworkProbe {
  readonly steps: readonly PluginStep[];
  /** The addresses that ADD returned. */
  readonly ips: readonly string[];
  /** What DEL did not remove, a sentence each. */
  readonly left: readonly string[];
  /** The families for which a plugin enabled forwarding; it is disabled again. */
  readonly turnsForwardingOn: readonly ("ipv4" | "ipv6")[];
}

const forwardingFiles = [
  "/proc/sys/net/ipv4/ip_forward",
  "/proc/sys/net/ipv6/conf/all/forwarding",
] as const;

/**
 * Calls `use` with a network namespace that is pinned in a scratch directory. The directory is a private
 * bind mount, so that no mount in it propagates to another mount namespace.
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
 * Attaches a scratch namespace to the network of this host and detaches it, with the same calls as for a
 * pod. Removes also what the plugins leave by design, unless it existed before: a bridge
 * without ports, the directory of host-local, and forwarding. Chains that all pods share
 * stay (CNI-FORWARD of the firewall plugin), as they do after the last pod.
 */
export async function probeNetwork(
  reading: NetworkReading,
  options: {
    readonly pluginTimeoutMs: number;
    /** Where the scratch namespace is pinned. */
    readonly directory: string;
    readonly searchPath: string;
    readonly signal: AbortSignal;
  },
): Promise<NetworkProbe> {
  const bridges = bridgesOf(reading);
  const ipams = reservationDirectories(reading);
  const linksBefore = await linkNames();
  const ipamsBefore = ipams.filter(existsSync);
  const forwardingBefore = await readForwarding();
  const id = `davit-doctor-${randomBytes(8).toString("hex")}`;
  const left: string[] = [];
  const probe = await withScratchNamespace(options.directory, async (netnsPath) => {
    let added: readonly string[] = [];
    const onAdded = async (): Promise<void> => {
      added = await linkNames(netnsPath);
    };
    const { pluginTimeoutMs, signal } = options;
    const result = await tryPlugins(reading, { id, netnsPath, pluginTimeoutMs, signal, onAdded });
    const remaining = (await linkNames(netnsPath)).filter((name) => name !== "lo");
    if (remaining.some((name) => added.includes(name))) {
      left.push(`after DEL the network namespace still has the interfaces ${remaining.join(", ")}`);
    }
    return result;
  });
  left.push(...(await freeReservedAddresses(ipams, id)));
  for (const bridge of bridges.filter((name) => !linksBefore.includes(name))) {
    left.push(...(await removeBridge(bridge, options.searchPath)));
  }
  for (const directory of ipams.filter((each) => !ipamsBefore.includes(each))) {
    await removeIpamDirectory(directory);
  }
  return { ...probe, left, turnsForwardingOn: await restoreForwarding(forwardingBefore) };
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

/** Restores the forwarding settings. Returns the families for which that was needed. */
async function restoreForwarding(
  before: readonly string[],
): Promise<NetworkProbe["turnsForwardingOn"]> {
  const after = await readForwarding();
  const changed: ("ipv4" | "ipv6")[] = [];
  for (const [index, file] of forwardingFiles.entries()) {
    const original = before[index] ?? "";
    if (after[index] === original) continue;
    await writeFile(file, original);
    changed.push(index === 0 ? "ipv4" : "ipv6");
  }
  return changed;
}

/** The interfaces of a network namespace; those of this process without `netnsPath`. */
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

async function freeReservedAddresses(
  directories: readonly string[],
  id: string,
): Promise<string[]> {
  const left: string[] = [];
  for (const directory of directories) {
    const names = await readdir(directory).catch(() => []);
    const texts = await readFiles(names.map((name) => join(directory, name)));
    const ours = names.filter((_, index) => texts[index]?.startsWith(id) === true);
    for (const name of ours) {
      left.push(`after DEL the address ${name} was still reserved in ${directory}; it is free now`);
      await rm(join(directory, name), { force: true });
    }
  }
  return left;
}

/** Removes a bridge that the probe created, unless a pod is attached to it by now. */
async function removeBridge(bridge: string, searchPath: string): Promise<readonly string[]> {
  if (!(await linkNames()).includes(bridge)) return [];
  const ip = findProgram("ip", searchPath);
  if (ip === undefined) return [`the bridge ${bridge} stays: program "ip" not found`];
  const call = async (args: readonly string[]): Promise<string> => {
    const result = await run({ file: ip, args, env: { PATH: searchPath }, timeoutMs: 5_000 });
    return result.code === 0 ? result.stdout.toString() : result.stderr.toString().trim();
  };
  if ((await call(["-o", "link", "show", "master", bridge])) !== "") return [];
  const error = await call(["link", "delete", bridge, "type", "bridge"]);
  return error === "" ? [] : [`the bridge ${bridge} stays: ${error}`];
}

/** Removes the files of host-local; a directory that holds an address stays. */
async function removeIpamDirectory(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  if (!names.every((name) => name === "lock" || name.startsWith("last_reserved_ip"))) return;
  for (const name of names) await rm(join(directory, name), { force: true });
  await rmdir(directory).catch((error: unknown) => messageOf(error));
}
