import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import type { CgroupLayout, LegacyCgroups } from "../../linux/cgroup/index.ts";
import type { OciBlockIo } from "../../core/oci/index.ts";

/** Why this node cannot limit block I/O at all; undefined if it can. */
export function blockIoObstacle(layout: CgroupLayout): string | undefined {
  if (layout.version === "v2") {
    if (layout.controllers.includes("io")) return undefined;
    return "the kernel has no controller io in cgroup v2; boot one with CONFIG_BLK_CGROUP";
  }
  if (blkioRoot(layout) !== undefined) return undefined;
  return "the controller blkio is not mounted; mount it, or boot a kernel with CONFIG_BLK_CGROUP";
}

/**
 * `failed-precondition` for weights that no file of a cgroup takes. Where no cgroup below the root exists yet, the OCI
 * runtime finds that out itself.
 */
export async function checkWeights(layout: CgroupLayout, limits: OciBlockIo): Promise<void> {
  const { weight, weightDevice } = limits;
  if (weight === undefined && weightDevice === undefined) return;
  const files = await filesOfACgroup(layout);
  if (files === undefined) return;
  const isV2 = layout.version === "v2";
  const forAll = isV2 ? ["io.bfq.weight", "io.weight"] : ["blkio.bfq.weight", "blkio.weight"];
  const forDevice = isV2 ? ["io.bfq.weight"] : ["blkio.bfq.weight_device", "blkio.weight_device"];
  const needed = weightDevice === undefined ? forAll : forDevice;
  if (needed.some((name) => files.includes(name))) return;
  throw new RuntimeError(
    "failed-precondition",
    `the kernel has no weights of block I/O (${needed.join(", ")}); modprobe bfq, or boot a kernel with CONFIG_BFQ_GROUP_IOSCHED`,
  );
}

function blkioRoot({ hierarchies }: LegacyCgroups): string | undefined {
  return hierarchies.find(({ controllers }) => controllers.includes("blkio"))?.path;
}

/** The names of the files of block I/O in a cgroup that is not the root, which has fewer; undefined if there is none. */
async function filesOfACgroup(layout: CgroupLayout): Promise<readonly string[] | undefined> {
  const root = layout.version === "v2" ? layout.root : blkioRoot(layout);
  if (root === undefined) return undefined;
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const names: readonly string[] = await readdir(join(root, entry.name)).catch(() => []);
    // On v2 the controller may not be enabled for it.
    if (layout.version === "v1" || names.includes("io.max")) return names;
  }
  return undefined;
}
