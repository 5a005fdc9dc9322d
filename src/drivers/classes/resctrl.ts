import { mkdir, readdir, readFile, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { BandwidthInfo, CacheInfo, RdtInfo } from "../../oci-spec/index.ts";
import { rootClass } from "../../oci-spec/index.ts";

/** The resctrl file system: where it is mounted, and its options. */
export interface ResctrlMount {
  readonly root: string;
  readonly options: readonly string[];
}

/** The text of a file; undefined where it does not exist. */
type Read = (path: string) => Promise<string | undefined>;

/** What this machine can allocate, by info/ and the root's schemata (linux/Documentation/filesystems/resctrl.rst). */
export async function readRdtInfo(
  { root, options }: ResctrlMount,
  read: Read = textAt,
): Promise<RdtInfo> {
  const schemata = await read(join(root, "schemata"));
  if (schemata === undefined) {
    const text = `read "${root}/schemata": it does not exist; mount -t resctrl resctrl ${root}`;
    throw new RuntimeError("failed-precondition", text);
  }
  return {
    caches: {
      l2: await cacheInfo(root, "L2", schemata, read),
      l3: await cacheInfo(root, "L3", schemata, read),
    },
    bandwidth: await bandwidthInfo(root, schemata, options.includes("mba_MBps"), read),
  };
}

async function cacheInfo(
  root: string,
  level: "L2" | "L3",
  schemata: string,
  read: Read,
): Promise<CacheInfo | undefined> {
  for (const resource of [`${level}CODE`, `${level}DATA`, level]) {
    const info = join(root, "info", resource);
    const mask = await read(join(info, "cbm_mask"));
    if (mask === undefined) continue;
    return {
      mask: BigInt(`0x${matched(mask, /^[0-9a-f]{1,16}$/i, info)}`),
      minBits: await numberAt(join(info, "min_cbm_bits"), read),
      isCdp: resource !== level,
      ids: idsOf(schemata, resource),
    };
  }
  return undefined;
}

async function bandwidthInfo(
  root: string,
  schemata: string,
  isMbps: boolean,
  read: Read,
): Promise<BandwidthInfo | undefined> {
  const file = join(root, "info/MB/min_bandwidth");
  if ((await read(file)) === undefined) return undefined;
  return { least: await numberAt(file, read), isMbps, ids: idsOf(schemata, "MB") };
}

/** The cache IDs of a line such as `L3:0=fffff;1=fffff`. */
function idsOf(schemata: string, resource: string): readonly number[] {
  const line = schemata.split("\n").find((each) => each.trim().startsWith(`${resource}:`));
  if (line === undefined) {
    throw new RuntimeError(
      "failed-precondition",
      `resctrl has no line ${resource} in its schemata`,
    );
  }
  const parts = line.slice(line.indexOf(":") + 1).split(";");
  return parts.map((part) => Number(matched(part.split("=")[0] ?? "", /^\d{1,9}$/, resource)));
}

async function numberAt(path: string, read: Read): Promise<number> {
  return Number(matched((await read(path)) ?? "", /^\d{1,9}$/, path));
}

function matched(text: string, pattern: RegExp, where: string): string {
  const trimmed = text.trim();
  if (pattern.test(trimmed)) return trimmed;
  throw new RuntimeError("failed-precondition", `read "${where}": got "${trimmed.slice(0, 100)}"`);
}

async function textAt(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return undefined;
    throw wrap(`read "${path}"`, cause);
  }
}

/** The groups that this node's configuration has made. */
export class ResctrlGroups {
  readonly #notePath: string;
  readonly #removeGroup: (path: string) => Promise<void>;

  /** `notePath`: a file that lists the groups that were made here; only these are removed. */
  constructor(notePath: string, removeGroup: (path: string) => Promise<void> = rmdir) {
    this.#notePath = notePath;
    this.#removeGroup = removeGroup;
  }

  /**
   * Makes the groups of all classes, writes their schemata, and removes groups that an earlier configuration had made,
   * unless tasks run in them. Returns the names of those that were kept. `failed-precondition` names class and reason.
   */
  async apply(root: string, schemata: ReadonlyMap<string, string>): Promise<readonly string[]> {
    const before = await this.#noted();
    const kept: string[] = [];
    for (const name of before) {
      if (schemata.has(name)) continue;
      // Before new ones: there are few.
      if (!(await this.#remove(join(root, name)))) kept.push(name);
    }
    const made = new Set([...before.filter((name) => schemata.has(name)), ...kept]);
    for (const [name, text] of schemata) {
      const path = groupPath(root, name);
      if (name !== rootClass && !(await hasGroup(root, name))) {
        made.add(name);
        // First, so that a group is known to be ours if the daemon dies here.
        await this.#note(made);
        await makeGroup(root, name);
      }
      if (text !== "") await writeSchemata(root, path, name, text);
    }
    await this.#note(made);
    return kept;
  }

  /** False if tasks run in it. */
  async #remove(path: string): Promise<boolean> {
    if (((await textAt(join(path, "tasks"))) ?? "").trim() !== "") return false;
    try {
      await this.#removeGroup(path);
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") throw wrap(`remove resctrl group "${path}"`, cause);
    }
    return true;
  }

  async #noted(): Promise<readonly string[]> {
    const text = (await textAt(this.#notePath)) ?? "";
    return text.split("\n").filter((name) => name !== "");
  }

  async #note(names: ReadonlySet<string>): Promise<void> {
    await writeFile(this.#notePath, [...names].map((name) => `${name}\n`).join(""), {
      mode: 0o600,
    });
  }
}

async function makeGroup(root: string, name: string): Promise<void> {
  try {
    await mkdir(join(root, name));
  } catch (cause) {
    const groups = (await readdir(root, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory() && !/^(info|mon_data|mon_groups)$/.test(entry.name))
      .map((entry) => entry.name);
    const why =
      errnoCode(cause) === "ENOSPC"
        ? `this machine has no more groups (num_closids in ${root}/info); it has ${groups.join(", ")}`
        : await reasonOf(root, cause);
    const text = `make resctrl group of RDT class "${name}": ${why}`;
    throw new RuntimeError("failed-precondition", text, { cause });
  }
}

async function writeSchemata(
  root: string,
  path: string,
  name: string,
  text: string,
): Promise<void> {
  try {
    // One write(2): the kernel applies all lines of it together, or none.
    await writeFile(join(path, "schemata"), text);
  } catch (cause) {
    const lines = text.trim().replaceAll("\n", ", ");
    const why = `write ${lines} for RDT class "${name}": ${await reasonOf(root, cause)}`;
    throw new RuntimeError("failed-precondition", why, { cause });
  }
}

/** What the kernel says about the last failed call, which is more than the errno. */
async function reasonOf(root: string, cause: unknown): Promise<string> {
  const status = ((await textAt(join(root, "info/last_cmd_status")).catch(() => "")) ?? "").trim();
  return status === "" || status === "ok" ? messageOf(cause) : status;
}

function groupPath(root: string, name: string): string {
  return name === rootClass ? root : join(root, name);
}

/** Whether resctrl has the group of a class. */
export function hasGroup(root: string, name: string): Promise<boolean> {
  return stat(groupPath(root, name)).then(
    () => true,
    () => false,
  );
}
