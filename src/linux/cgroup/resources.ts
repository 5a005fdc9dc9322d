import { RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { type CgroupLayout, cgroupDirs, controllerDir, type LegacyCgroups } from "./layout.ts";
import { readCgroupFile, restoreCgroupFile, writeCgroupFile } from "./files.ts";

/**
 * Limits in the units of CRI's LinuxContainerResources. A limit that is not given, 0 or empty is not changed,
 * because 0 means "not set" in CRI; -1 removes a limit.
 */
export interface CgroupResources {
  readonly cpuShares?: bigint;
  /** Microseconds of CPU in each period. */
  readonly cpuQuota?: bigint;
  readonly cpuPeriod?: bigint;
  readonly memoryLimitBytes?: bigint;
  /** Memory and swap together. Ignored on a host whose kernel does not count swap. */
  readonly memorySwapLimitBytes?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  /** `2MB`, `1GB`...; here 0 is a limit. Ignored when it is 0 and the host has no such pages. */
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limitBytes: bigint }[];
  /** v2 files by name; `invalid-argument` on v1. */
  readonly unified?: Readonly<Record<string, string>>;
  readonly pids?: bigint;
}

/**
 * Writes limits to an existing cgroup. Rejects at the first failure, naming the file, after restoring the
 * limits that it had written. The result restores all former limits.
 */
export async function writeResources(
  layout: CgroupLayout,
  path: string,
  resources: CgroupResources,
): Promise<() => Promise<void>> {
  checkHugepages(resources);
  const files = new CgroupFiles();
  try {
    if (layout.version === "v2") {
      for (const dir of cgroupDirs(layout, path)) await writeV2(files, dir, resources);
    } else {
      await writeV1(files, layout, path, resources);
    }
  } catch (cause) {
    await files.restore().catch(() => undefined); // report the first failure
    throw cause;
  }
  return () => files.restore();
}

/** Writes files, and can restore their former values. */
class CgroupFiles {
  readonly #before: FileValue[] = [];

  async write(path: string, value: string): Promise<void> {
    // A write-only file, such as memory.reclaim, has no value to restore.
    const before = await readCgroupFile(path).catch(() => undefined);
    await writeCgroupFile(path, value);
    if (before !== undefined) this.#before.push({ path, value: before });
  }

  /**
   * Restores all files that it can, and then throws the first failure. Last first, because the kernel checks some
   * limits against each other: so they pass through the same states.
   */
  async restore(): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    for (const { path, value } of this.#before.toReversed()) {
      try {
        await restoreCgroupFile(path, value);
      } catch (error) {
        // Restore the others.
        failure ??= { error };
      }
    }
    this.#before.length = 0;
    if (failure !== undefined) throw failure.error;
  }
}

/** cpu.weight (1 to 10000) for cpu.shares (2 to 262144): the linear map that runc and crun use. */
export function weightOfShares(shares: bigint): bigint {
  const inRange = shares < 2n ? 2n : shares > 262144n ? 262144n : shares;
  return 1n + ((inRange - 2n) * 9999n) / 262142n;
}

async function writeV2(files: CgroupFiles, dir: string, resources: CgroupResources): Promise<void> {
  const write = (file: string, value: string): Promise<void> =>
    files.write(`${dir}/${file}`, value);
  if (given(resources.cpuShares))
    await write("cpu.weight", `${weightOfShares(resources.cpuShares)}`);
  await writeCpuMax(files, dir, resources);
  await writeV2Memory(files, dir, resources);
  if (resources.cpusetCpus) await write("cpuset.cpus", resources.cpusetCpus);
  if (resources.cpusetMems) await write("cpuset.mems", resources.cpusetMems);
  if (given(resources.pids)) await write("pids.max", limit(resources.pids));
  for (const { pageSize, limitBytes } of resources.hugepageLimits ?? []) {
    await writeUnless(
      files,
      limitBytes === 0n,
      `${dir}/hugetlb.${pageSize}.max`,
      limit(limitBytes),
    );
  }
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    if (!/^[a-z0-9_]+(\.[a-zA-Z0-9_]+)+$/.test(file) || file.startsWith("cgroup.")) {
      throw new RuntimeError("invalid-argument", `write cgroup file: not a resource: "${file}"`);
    }
    await write(file, value);
  }
}

async function writeV2Memory(
  files: CgroupFiles,
  dir: string,
  resources: CgroupResources,
): Promise<void> {
  const { memoryLimitBytes: memory, memorySwapLimitBytes: swap } = resources;
  if (given(memory)) await files.write(`${dir}/memory.max`, limit(memory));
  if (!given(swap)) return;
  // memory.swap.max counts swap alone, so the memory limit is subtracted from the sum.
  if (swap > 0n && (!given(memory) || memory < 0n || swap < memory)) {
    throw new RuntimeError(
      "invalid-argument",
      `limit swap of cgroup "${dir}": ${swap} is memory and swap together; set a memory limit that is not higher`,
    );
  }
  await writeUnless(
    files,
    true,
    `${dir}/memory.swap.max`,
    swap < 0n ? "max" : `${swap - (memory ?? 0n)}`,
  );
}

/** "QUOTA PERIOD"; a part that is not given is kept. */
async function writeCpuMax(
  files: CgroupFiles,
  dir: string,
  resources: CgroupResources,
): Promise<void> {
  const { cpuQuota, cpuPeriod } = resources;
  if (!given(cpuQuota) && !given(cpuPeriod)) return;
  const file = `${dir}/cpu.max`;
  const [oldQuota, oldPeriod] = (await readCgroupFile(file)).split(" ");
  const quota = given(cpuQuota) ? limit(cpuQuota) : (oldQuota ?? "max");
  const period = given(cpuPeriod) ? `${cpuPeriod}` : (oldPeriod ?? "100000");
  await files.write(file, `${quota} ${period}`);
}

async function writeV1(
  files: CgroupFiles,
  layout: LegacyCgroups,
  path: string,
  resources: CgroupResources,
): Promise<void> {
  if (Object.keys(resources.unified ?? {}).length > 0) {
    throw new RuntimeError(
      "invalid-argument",
      `write resources of cgroup "${path}": unified resources need cgroup v2, and this host has v1`,
    );
  }
  const file = (controller: string, name: string): string => {
    const dir = controllerDir(layout, controller, path);
    if (dir !== undefined) return `${dir}/${name}`;
    throw new RuntimeError(
      "failed-precondition",
      `write "${name}" of cgroup "${path}": no hierarchy with controller ${controller} is mounted; mount it, or remove this limit`,
    );
  };
  if (given(resources.cpuShares)) {
    await files.write(file("cpu", "cpu.shares"), `${resources.cpuShares}`);
  }
  await writeInEitherOrder(files, [
    pair(resources.cpuPeriod, () => file("cpu", "cpu.cfs_period_us")),
    pair(resources.cpuQuota, () => file("cpu", "cpu.cfs_quota_us")),
  ]);
  await writeV1Memory(files, file, resources);
  if (resources.cpusetCpus) {
    await files.write(file("cpuset", "cpuset.cpus"), resources.cpusetCpus);
  }
  if (resources.cpusetMems) {
    await files.write(file("cpuset", "cpuset.mems"), resources.cpusetMems);
  }
  if (given(resources.pids)) await files.write(file("pids", "pids.max"), limit(resources.pids));
  for (const { pageSize, limitBytes } of resources.hugepageLimits ?? []) {
    if (limitBytes === 0n && controllerDir(layout, "hugetlb", path) === undefined) continue;
    const name = `hugetlb.${pageSize}.limit_in_bytes`;
    await writeUnless(files, limitBytes === 0n, file("hugetlb", name), `${limitBytes}`);
  }
}

async function writeV1Memory(
  files: CgroupFiles,
  file: (controller: string, name: string) => string,
  resources: CgroupResources,
): Promise<void> {
  const memory = pair(resources.memoryLimitBytes, () => file("memory", "memory.limit_in_bytes"));
  const swap = pair(resources.memorySwapLimitBytes, () =>
    file("memory", "memory.memsw.limit_in_bytes"),
  );
  const counted = swap !== undefined && (await exists(swap.path));
  await writeInEitherOrder(files, [memory, counted ? swap : undefined]);
}

interface FileValue {
  readonly path: string;
  readonly value: string;
}

function pair(value: bigint | undefined, path: () => string): FileValue | undefined {
  return given(value) ? { path: path(), value: `${value}` } : undefined;
}

/**
 * Two limits that the kernel checks against each other at each write (EINVAL): raising both
 * needs one order, lowering both needs the other. The first is written first, and again at the end if it was refused.
 */
async function writeInEitherOrder(
  files: CgroupFiles,
  values: readonly [FileValue | undefined, FileValue | undefined],
): Promise<void> {
  const [first, second] = values;
  let refused = false;
  if (first !== undefined) {
    try {
      await files.write(first.path, first.value);
    } catch (cause) {
      if (second === undefined || errnoCode(cause) !== "EINVAL") throw cause;
      refused = true;
    }
  }
  if (second !== undefined) await files.write(second.path, second.value);
  if (first !== undefined && refused) await files.write(first.path, first.value);
}

async function writeUnless(
  files: CgroupFiles,
  mayBeMissing: boolean,
  path: string,
  value: string,
): Promise<void> {
  try {
    await files.write(path, value);
  } catch (cause) {
    if (!mayBeMissing || errnoCode(cause) !== "ENOENT") throw cause;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await readCgroupFile(path);
    return true;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return false;
    throw cause;
  }
}

/** The page size becomes part of a file name. */
function checkHugepages(resources: CgroupResources): void {
  for (const { pageSize } of resources.hugepageLimits ?? []) {
    if (/^[0-9]+[KMG]B$/.test(pageSize)) continue;
    throw new RuntimeError("invalid-argument", `limit huge pages: not a page size: "${pageSize}"`);
  }
}

function given(value: bigint | undefined): value is bigint {
  return value !== undefined && value !== 0n;
}

function limit(value: bigint): string {
  return value < 0n ? "max" : `${value}`;
}
