import type { MessageShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../../base/errors.ts";
import type { MemoryUsage, ReportedUsage } from "../../../core/stats/index.ts";
import type { Metric } from "../../../gen/containerd/types/metrics_pb.ts";
import {
  type Metrics as LegacyMetrics,
  MetricsSchema as LegacyMetricsSchema,
} from "../../../gen/io/containerd/cgroups/v1/metrics_pb.ts";
import {
  type Metrics as UnifiedMetrics,
  MetricsSchema as UnifiedMetricsSchema,
} from "../../../gen/io/containerd/cgroups/v2/metrics_pb.ts";
import { decodeBounded } from "../../../wire/protobuf.ts";

/** How old a sandboxer's timestamp may be. Any other one is replaced, as its clock is not the host's. */
const oldestNs = 60_000_000_000n;
/** Above any memory size, and below the "no limit" of v1 and v2 (LONG_MAX, UINT64_MAX). */
const unlimited = 1n << 62n;

/**
 * The usage in a metric of containerd's, of cgroup v1 or v2. In protobuf, zero means that a field was
 * not set, and a sandbox that runs uses more than zero. Undefined for an empty metric;
 * `unknown` for one that cannot be decoded. `nowNs` is in nanoseconds since 1970.
 */
export function usageOfMetric(
  metric: Metric | undefined,
  nowNs: bigint,
): ReportedUsage | undefined {
  const data = metric?.data;
  if (data === undefined || data.typeUrl === "") return undefined;
  const parts = partsOf(data);
  if (Object.values(parts).every((part) => part === undefined)) return undefined;
  const { seconds = 0n, nanos = 0 } = metric?.timestamp ?? {};
  const reportedNs = seconds * 1_000_000_000n + BigInt(nanos);
  const isPlausible = reportedNs <= nowNs && nowNs - reportedNs < oldestNs;
  return { takenAtNs: isPlausible ? reportedNs : nowNs, ...parts };
}

type Parts = Omit<ReportedUsage, "takenAtNs">;

function partsOf({ typeUrl, value }: NonNullable<Metric["data"]>): Parts {
  const type = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
  if (type === UnifiedMetricsSchema.typeName) return read(UnifiedMetricsSchema, value, ofUnified);
  if (type === LegacyMetricsSchema.typeName) return read(LegacyMetricsSchema, value, ofLegacy);
  throw new RuntimeError(
    "unknown",
    `read metrics of a sandbox: they must be cgroup metrics; their type is "${type}"`,
  );
}

function read<S extends typeof UnifiedMetricsSchema | typeof LegacyMetricsSchema>(
  schema: S,
  value: Uint8Array,
  parts: (metrics: MessageShape<S>) => Parts,
): Parts {
  try {
    return parts(decodeBounded(schema, value));
  } catch (cause) {
    const text = `read metrics of a sandbox: invalid ${schema.typeName}`;
    throw new RuntimeError("unknown", text, { cause });
  }
}

function ofUnified({ cpu, memory, pids }: UnifiedMetrics): Parts {
  return {
    cpuNs: nonZero((cpu?.usageUsec ?? 0n) * 1000n),
    memory:
      memory &&
      memoryOf({
        usage: memory.usage,
        inactiveFile: memory.inactiveFile,
        limit: memory.usageLimit,
        rss: memory.anon,
        faults: [memory.pgfault, memory.pgmajfault],
      }),
    tasks: nonZero(pids?.current),
  };
}

function ofLegacy({ cpu, memory, pids }: LegacyMetrics): Parts {
  return {
    cpuNs: nonZero(cpu?.usage?.total),
    // The totals include the cgroups below, as the usage does.
    memory:
      memory &&
      memoryOf({
        usage: memory.usage?.usage ?? 0n,
        inactiveFile: memory.totalInactiveFile,
        limit: memory.usage?.limit ?? 0n,
        rss: memory.totalRss,
        faults: [memory.totalPgFault, memory.totalPgMajFault],
      }),
    tasks: nonZero(pids?.current),
  };
}

/** The working set is as in kubelet's eviction: without inactive file pages. */
function memoryOf(sizes: {
  readonly usage: bigint;
  readonly inactiveFile: bigint;
  readonly limit: bigint;
  readonly rss: bigint;
  readonly faults: readonly [bigint, bigint];
}): MemoryUsage | undefined {
  const { usage, inactiveFile, limit, rss, faults } = sizes;
  if (usage === 0n) return undefined;
  const workingSet = left(usage, inactiveFile);
  const isLimited = limit > 0n && limit < unlimited;
  return {
    usage,
    workingSet,
    available: isLimited ? left(limit, workingSet) : undefined,
    rss: nonZero(rss),
    pageFaults: nonZero(faults[0]),
    majorPageFaults: nonZero(faults[1]),
    pressure: undefined,
  };
}

function left(whole: bigint, part: bigint): bigint {
  return whole > part ? whole - part : 0n;
}

function nonZero(value: bigint | undefined): bigint | undefined {
  return value === 0n ? undefined : value;
}
