import { RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { readCgroupFile, tryWriteCgroupFile } from "./files.ts";
import { type CgroupLayout, cgroupDirs } from "./layout.ts";

/** How much is asked for at once: a write waits for the disk, and only between two of them can a caller leave. */
const stepBytes = 64n * 1024n * 1024n;

/**
 * Has the kernel free memory of a cgroup and of those below it: it drops file pages, and writes others to swap. The
 * result is how many bytes fewer they use now. `failed-precondition` without cgroup v2, its memory controller and Linux
 * 5.19 (cgroup-v2.rst, memory.reclaim).
 */
export async function reclaimMemory(
  layout: CgroupLayout,
  path: string,
  signal: AbortSignal,
): Promise<bigint> {
  const doing = `reclaim memory of cgroup "${path}"`;
  if (layout.version === "v1") {
    const text = `${doing}: only cgroup v2 can do this (memory.reclaim), and this node has cgroup v1; pause without reclaiming memory`;
    throw new RuntimeError("failed-precondition", text);
  }
  const directory = cgroupDirs(layout, path)[0] ?? "";
  const file = `${directory}/memory.reclaim`;
  // 1 byte: less than a page is nothing, so this only asks whether the kernel has the file.
  if (!(await tryWriteCgroupFile(file, "1"))) {
    const text = `${doing}: cgroup v2 has no memory.reclaim here; it needs Linux 5.19 or newer and the memory controller`;
    throw new RuntimeError("failed-precondition", text);
  }
  const used = async (): Promise<bigint> =>
    BigInt(await readCgroupFile(`${directory}/memory.current`));
  const before = await used();
  for (let left = before; left > 0n; left -= stepBytes) {
    signal.throwIfAborted();
    if (!(await reclaim(file, left < stepBytes ? left : stepBytes))) break;
  }
  const after = await used();
  return before > after ? before - after : 0n;
}

/** False when the kernel could not free that much: no swap is left, or what is left is in use. */
async function reclaim(file: string, bytes: bigint): Promise<boolean> {
  try {
    return await tryWriteCgroupFile(file, String(bytes));
  } catch (error) {
    if (errnoCode(error) === "EAGAIN") return false;
    throw error;
  }
}
