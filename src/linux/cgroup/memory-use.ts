import { RuntimeError } from "../../base/errors.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { readCgroupFile } from "./files.ts";

/**
 * The memory that a cgroup needs now, in bytes: its usage without the inactive file cache, which
 * the kernel reclaims first. Undefined when the kernel does not count memory.
 */
export async function memoryInUse(layout: CgroupLayout, path: string): Promise<bigint | undefined> {
  const isV1 = layout.version === "v1";
  const dir = isV1 ? controllerDir(layout, "memory", path) : cgroupDirs(layout, path)[0];
  if (dir === undefined) return undefined;
  const read = (file: string): Promise<string> => readCgroupFile(`${dir}/${file}`).catch(() => "");
  const [used, stat] = await Promise.all([
    read(isV1 ? "memory.usage_in_bytes" : "memory.current"),
    read("memory.stat"),
  ]);
  if (!/^\d+$/.test(used)) return undefined;
  const cache = /^(?:total_)?inactive_file (\d+)$/m;
  // v1 has both lines; the one with total_ includes the cgroups below, as the usage does.
  const total = /^total_inactive_file (\d+)$/m.exec(stat) ?? cache.exec(stat);
  const rest = BigInt(used) - BigInt(total?.[1] ?? 0);
  return rest > 0n ? rest : 0n;
}

/**
 * Rejects a memory limit in bytes below the usage (`failed-precondition`), with both figures. 0 and less mean "no
 * limit". v2 accepts any limit and kills processes until the rest fits (Documentation/admin-guide/cgroup-v2,
 * memory.max); the kernel's error on v1 has no figures.
 */
export async function assertLimitAboveUsage(
  layout: CgroupLayout,
  path: string,
  limit: bigint,
): Promise<void> {
  if (limit <= 0n) return;
  const used = await memoryInUse(layout, path);
  if (used === undefined || used <= limit) return;
  throw new RuntimeError(
    "failed-precondition",
    `write limits of cgroup "${path}": cannot limit memory to ${limit} bytes: ${used} bytes are in use; free memory there first, or set a higher limit`,
  );
}
