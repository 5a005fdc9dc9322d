import type { OciProcess } from "../core/oci/index.ts";
import type { LinuxContainerResources } from "../gen/runtime/v1/api_pb.ts";

/**
 * A process that joins a container, started on the first CPU of the container's cpuset. Without a cpuset the OCI
 * runtime decides. The runtime moves it there before it enters the container's cgroup (runtime-spec, config.md,
 * execCPUAffinity); the process may move itself to others of the cpuset.
 */
export function onFirstCpu(
  process: OciProcess,
  resources: Pick<LinuxContainerResources, "cpusetCpus"> | undefined,
): OciProcess {
  const first = firstCpu(resources?.cpusetCpus ?? "");
  return first === undefined
    ? process
    : { ...process, execCPUAffinity: { initial: String(first) } };
}

/** The lowest number of a list like `2-4,0` (cpuset(7), "List format"). */
function firstCpu(list: string): number | undefined {
  const starts = list.split(",").map((range) => Number.parseInt(range.trim(), 10));
  const known = starts.filter((cpu) => cpu >= 0);
  return known.length === 0 ? undefined : Math.min(...known);
}
