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
 * result takes them back.
 *
 * The OCI runtime writes them, as it wrote those of the start: its own rules for weights and for the
 * order of memory and swap hold, and with systemd the scope's properties change, too. What it does
 * not carry out is written here: huge pages (runc), and that there is no quota any more (crun on v2,
 * which leaves cpu.max as it is at -1). Taking back goes by the files, which hold also what nobody
 * asked for, as a cpuset that was inherited; systemd is told what they say then, and where crun tells
 * it nothing (the quota) or something else (crun 1.21: memory and swap together as MemorySwapMax).
 */
export async function updateLimits(
  deps: Deps,
  cgroupPath: string,
  { resources, spec }: ContainerLimits,
): Promise<() => Promise<void>> {
  const { cgroups, log } = deps;
  await assertLimitAboveUsage(cgroups, cgroupPath, resources.memoryLimitInBytes);
  const restore = await rememberLimits(cgroups, cgroupPath, Object.keys(resources.unified));
  // systemd would write what it was told last, when it writes the scope's files again.
  const adopt = async (): Promise<void> => {
    if (isScope(cgroupPath)) await syncLimitsToSystemd(cgroups, cgroupPath);
  };
  const takeBack = async (): Promise<void> => {
    await restore();
    await adopt();
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
    if (resources.cpuQuota < 0n || swapIsWritten) await adopt();
  } catch (error) {
    await takeBack().catch((cause: unknown) => {
      log.error(`take back limits of cgroup "${cgroupPath}": ${messageOf(cause)}`);
    });
    throw refusal(error);
  }
  return takeBack;
}

const kernelWords: readonly (readonly [RegExp, ErrorKind])[] = [
  // EBUSY: memory that cannot be freed (v1). EACCES: CPUs that the cgroup above does not have (v1).
  [/resource busy|permission denied/i, "failed-precondition"],
  [/invalid argument|out of range/i, "invalid-argument"],
];

/** Runtimes tell the kernel's answers by words alone. */
function refusal(error: unknown): unknown {
  if (kindOf(error) !== "unknown") return error;
  for (const [words, kind] of kernelWords) {
    if (words.test(messageOf(error))) {
      return new RuntimeError(kind, messageOf(error), { cause: error });
    }
  }
  return error;
}
