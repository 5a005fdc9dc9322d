import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { readCgroupFile } from "./tree.ts";

/**
 * The memory that a cgroup cannot do without now: what it uses, but for the cache of files that
 * nobody has asked for lately, which the kernel gives up first. Bytes; undefined where the kernel
 * does not count memory.
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
  // v1 has both lines; the one with total_ counts the cgroups below, as the usage does.
  const total = /^total_inactive_file (\d+)$/m.exec(stat) ?? cache.exec(stat);
  const rest = BigInt(used) - BigInt(total?.[1] ?? 0);
  return rest > 0n ? rest : 0n;
}
