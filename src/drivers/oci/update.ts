import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ContainerLimits } from "../../core/container/index.ts";
import { specText } from "../../oci-spec/index.ts";
import { isScope } from "../../core/sandbox/index.ts";
import {
  syncLimitsToSystemd,
  type CgroupLayout,
  assertLimitAboveUsage,
  rememberLimits,
  writeResources,
} from "../../linux/cgroup/index.ts";

interface Deps {
  readonly cgroups: CgroupLayout;
  readonly log: Logger;
  /** Runs `update` of the container's OCI runtime with LinuxResources as JSON text. */
  readonly callRuntime: (resources: string) => Promise<void>;
}

/**
 * Writes limits to the cgroup of a running container: all of them or, when it rejects, none. The
 * returned function restores the previous limits.
 *
 * The OCI runtime writes them, as it wrote those of the start: its own rules for weights and for the
 * order of memory and swap apply, and with systemd the scope's properties change as well. Limits that it ignores are
 * written here: huge pages (runc), and the removal of a quota (crun on v2, which does not change cpu.max at -1).
 * The previous limits are restored from the cgroup's files, which include values that no client set, as an inherited
 * cpuset. systemd then gets the values of the files; it also gets them where crun sends it none (the quota) or
 * wrong ones (crun 1.21: memory and swap together as MemorySwapMax).
 */
export async function updateLimits(
  deps: Deps,
  cgroupPath: string,
  { resources, spec }: ContainerLimits,
): Promise<() => Promise<void>> {
  const { cgroups, log } = deps;
  await assertLimitAboveUsage(cgroups, cgroupPath, resources.memoryLimitInBytes);
  const restore = await rememberLimits(cgroups, cgroupPath, Object.keys(resources.unified));
  // When systemd writes the scope's files again, it writes the last values that it got.
  const sync = async (): Promise<void> => {
    if (isScope(cgroupPath)) await syncLimitsToSystemd(cgroups, cgroupPath);
  };
  const revert = async (): Promise<void> => {
    await restore();
    await sync();
  };
  try {
    await deps.callRuntime(specText(spec));
    await writeResources(cgroups, cgroupPath, {
      ...(resources.cpuQuota < 0n ? { cpuQuota: resources.cpuQuota } : {}),
      hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }) => ({
        pageSize,
        limitBytes: limit,
      })),
    });
    const swapIsWritten =
      resources.memoryLimitInBytes !== 0n || resources.memorySwapLimitInBytes !== 0n;
    if (resources.cpuQuota < 0n || swapIsWritten) await sync();
  } catch (error) {
    await revert().catch((cause: unknown) => {
      log.error(`failed to restore limits of cgroup "${cgroupPath}": ${messageOf(cause)}`);
    });
    throw refusal(error);
  }
  return revert;
}

const kernelErrors: readonly (readonly [RegExp, ErrorKind])[] = [
  // EBUSY: memory that cannot be freed (v1). EACCES: CPUs that the cgroup above does not have (v1).
  [/resource busy|permission denied/i, "failed-precondition"],
  [/invalid argument|out of range/i, "invalid-argument"],
];

/** Runtimes report errors of the kernel as text only; this finds the kind. */
function refusal(error: unknown): unknown {
  if (kindOf(error) !== "unknown") return error;
  for (const [pattern, kind] of kernelErrors) {
    if (pattern.test(messageOf(error))) {
      return new RuntimeError(kind, messageOf(error), { cause: error });
    }
  }
  return error;
}
