import { existsSync } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { deviceNumbers } from "../../linux/file/index.ts";
import { type BlockIoDevice, type BlockIoItem, matchesPattern } from "../../oci-spec/index.ts";

/** A glob that reaches into every directory of a node must not take its memory. */
const maxMatches = 4096;

/** What is asked of the node about its block devices. */
export interface BlockDevices {
  /** The names in a directory; empty where it does not exist. */
  list(directory: string): Promise<readonly string[]>;
  /** The block device at a path, links followed; undefined if there is none. */
  find(path: string): Promise<BlockIoDevice | undefined>;
  /** Whether it is a part of a disk, which has no limits of its own. */
  isPartition(device: BlockIoDevice): boolean;
  /** The active I/O scheduler; undefined where the device has none to choose. */
  scheduler(device: BlockIoDevice): Promise<string | undefined>;
}

/** The devices of this node. */
export const nodeDevices: BlockDevices = {
  list: async (directory) => {
    try {
      return await readdir(directory);
    } catch (cause) {
      if (["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return [];
      throw systemError(`list "${directory}"`, cause);
    }
  },
  find: async (path) => {
    try {
      const info = await stat(path);
      if (!info.isBlockDevice()) return undefined;
      return { path: await realpath(path), ...deviceNumbers(info.rdev) };
    } catch (cause) {
      if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoCode(cause) ?? "")) return undefined;
      throw systemError(`find block device "${path}"`, cause);
    }
  },
  isPartition: (device) => existsSync(join(sysfs(device), "partition")),
  scheduler: async (device) => {
    const text = await readFile(join(sysfs(device), "queue/scheduler"), "utf8").catch(() => "");
    return /\[([\w-]+)\]/.exec(text)?.[1] ?? (/^[\w-]+$/.exec(text.trim())?.[0] || undefined);
  },
};

function sysfs({ major, minor }: BlockIoDevice): string {
  return `/sys/dev/block/${major}:${minor}`;
}

/**
 * The devices of an item: disks at the paths that its patterns match. `failed-precondition` for a partition that is
 * named without a pattern, and for a weight where the device's scheduler has none.
 */
export async function devicesOfItem(
  item: BlockIoItem,
  devices: BlockDevices,
): Promise<readonly BlockIoDevice[]> {
  const found = new Map<string, BlockIoDevice>();
  for (const pattern of item.devices ?? []) {
    const matches = await pathsOf(pattern, devices);
    for (const path of matches) {
      const device = await devices.find(path);
      if (device === undefined) continue;
      if (!devices.isPartition(device)) found.set(`${device.major}:${device.minor}`, device);
      else if (path === pattern) {
        refuse(`"${path}" is a partition, and limits are those of disks; name the disk`);
      }
    }
  }
  if (item.weight !== undefined) {
    for (const device of found.values()) await checkWeight(device, devices);
  }
  return [...found.values()];
}

async function checkWeight(device: BlockIoDevice, devices: BlockDevices): Promise<void> {
  const scheduler = await devices.scheduler(device);
  // cfq was replaced by bfq in Linux 5.0.
  if (scheduler === "bfq" || scheduler === "cfq") return;
  const name = device.path.slice("/dev/".length).replaceAll("/", "!");
  refuse(
    `a weight of "${device.path}" needs the I/O scheduler bfq, and it has ${scheduler ?? "none"}; ` +
      `echo bfq >/sys/block/${name}/queue/scheduler, or remove Weight from the class`,
  );
}

function refuse(why: string): never {
  throw new RuntimeError("failed-precondition", why);
}

/** The paths that a pattern matches: `*`, `?` and sets do not match "/" (Go, filepath.Glob). */
async function pathsOf(pattern: string, devices: BlockDevices): Promise<readonly string[]> {
  if (!pattern.startsWith("/")) refuse(`Devices has "${pattern}", which is not an absolute path`);
  if (!/[*?[\\]/.test(pattern)) return [pattern];
  let paths: readonly string[] = ["/"];
  for (const part of pattern.split("/").filter((each) => each !== "")) {
    const next: string[] = [];
    for (const path of paths) {
      if (!/[*?[\\]/.test(part)) next.push(join(path, part));
      else {
        const names = await devices.list(path);
        next.push(...names.filter((name) => matchesPattern(part, name)).map((n) => join(path, n)));
      }
    }
    if (next.length > maxMatches) refuse(`Devices has "${pattern}", which matches too many paths`);
    paths = next;
  }
  return paths.toSorted();
}
