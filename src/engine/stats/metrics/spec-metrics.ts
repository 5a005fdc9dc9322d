import type { Container } from "../../../core/container/index.ts";
import { metricGroup, seconds, single } from "./metric.ts";

/** Values above this are "no limit", which cAdvisor shows as 0. */
const maxMemory = 1n << 62n;
/** The kernel's values for a container without limits on processor time. */
const defaultPeriodUs = 100_000n;
const defaultShares = 1024n;

/** From the record of the container: the limits in force, also after an update. */
export const specMetrics = metricGroup(
  ({ container }: { readonly container: Container }) => container,
  () => 0n,
  [
    single(
      "gauge",
      "start_time_seconds",
      "When the container was started, in seconds since 1970.",
      ({ state }) => (state.name === "running" ? seconds(state.startedAtNs) : undefined),
    ),
    single(
      "gauge",
      "spec_cpu_period",
      "Period of the CPU quota, in microseconds.",
      ({ resources }) => resources?.cpuPeriod || defaultPeriodUs,
    ),
    single(
      "gauge",
      "spec_cpu_quota",
      "Processor time in each period, in microseconds. Missing without a limit.",
      ({ resources }) => positive(resources?.cpuQuota),
    ),
    single(
      "gauge",
      "spec_cpu_shares",
      "Share of processor time when it is short, relative to other containers.",
      ({ resources }) => positive(resources?.cpuShares) ?? defaultShares,
    ),
    single(
      "gauge",
      "spec_memory_limit_bytes",
      "Memory limit; 0 without a limit.",
      ({ resources }) => limitOf(resources?.memoryLimitInBytes),
    ),
    single(
      "gauge",
      "spec_memory_swap_limit_bytes",
      "Limit on memory and swap together; 0 without a limit.",
      ({ resources }) =>
        limitOf(resources?.memorySwapLimitInBytes || resources?.memoryLimitInBytes),
    ),
    single(
      "gauge",
      "spec_memory_reservation_limit_bytes",
      "Memory that is protected from reclaim (memory.min of cgroup v2).",
      ({ resources }) => {
        const text = resources?.unified["memory.min"] ?? "";
        return /^\d{1,19}$/.test(text) ? limitOf(BigInt(text)) : 0n;
      },
    ),
  ],
);

function positive(value: bigint | undefined): bigint | undefined {
  return value !== undefined && value > 0n ? value : undefined;
}

function limitOf(bytes: bigint | undefined): bigint {
  return bytes !== undefined && bytes > 0n && bytes <= maxMemory ? bytes : 0n;
}
