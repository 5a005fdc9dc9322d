import { existsSync, readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { linuxCapabilities, parseHardLimits, type SpecHost } from "../../oci-spec/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { kernelRelease } from "../../linux/host/index.ts";

/** What specs depend on of this machine. Read once, at the daemon's start. */
export function readSpecHost(layout: CgroupLayout): SpecHost {
  const { arch } = process;
  if (arch !== "x64" && arch !== "arm64") {
    throw new RuntimeError(
      "unimplemented",
      `read the host's facts: davit does not know ${arch} yet`,
    );
  }
  const capabilities = boundingSet();
  const [major = 0, minor = 0] = kernelRelease().split(/[.-]/).map(Number);
  const own = capabilities.includes("CAP_SYS_RESOURCE")
    ? {}
    : {
        oomScoreAdjFloor: Number(readFileSync("/proc/self/oom_score_adj", "utf8")),
        hardLimits: parseHardLimits(readFileSync("/proc/self/limits", "utf8")),
      };
  return {
    ...(layout.version === "v2"
      ? { cgroupVersion: 2, cgroupRoot: layout.root }
      : { cgroupVersion: 1 }),
    hasSwapController: hasSwap(layout),
    hugepageSizes: hugepageSizes(layout),
    capabilities,
    arch,
    kernel: [major, minor],
    hostname: hostname(),
    maxOpenFiles: BigInt(readFileSync("/proc/sys/fs/nr_open", "utf8").trim()),
    ...own,
  };
}

function boundingSet(): readonly string[] {
  const line = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  const bits = BigInt(`0x${line?.[1] ?? "0"}`);
  return linuxCapabilities.filter((_name, number) => ((bits >> BigInt(number)) & 1n) === 1n);
}

function directoryOf(layout: CgroupLayout, controller: string): string | undefined {
  if (layout.version === "v2") return layout.root;
  return layout.hierarchies.find(({ controllers }) => controllers.includes(controller))?.path;
}

function hasSwap(layout: CgroupLayout): boolean {
  const directory = directoryOf(layout, "memory");
  if (directory === undefined) return false;
  // On v2 the root cgroup has no such file; this one exists if swap is counted.
  return layout.version === "v2"
    ? existsSync("/proc/swaps") && layout.controllers.includes("memory")
    : existsSync(join(directory, "memory.memsw.limit_in_bytes"));
}

function hugepageSizes(layout: CgroupLayout): readonly string[] {
  const directory = directoryOf(layout, "hugetlb");
  if (directory === undefined) return [];
  if (layout.version === "v2") {
    return layout.controllers.includes("hugetlb") ? kernelHugepageSizes() : [];
  }
  return readdirSync(directory).flatMap(
    (name) => /^hugetlb\.(.+)\.limit_in_bytes$/.exec(name)?.[1] ?? [],
  );
}

function kernelHugepageSizes(): readonly string[] {
  const directory = "/sys/kernel/mm/hugepages";
  if (!existsSync(directory)) return [];
  return readdirSync(directory).map((name) => {
    const kibibytes = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0);
    if (kibibytes >= 1024 * 1024) return `${String(kibibytes / 1024 / 1024)}GB`;
    return kibibytes >= 1024 ? `${String(kibibytes / 1024)}MB` : `${String(kibibytes)}KB`;
  });
}
