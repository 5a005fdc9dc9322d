import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  CpuUsage,
  LayerUsage,
  MemoryUsage,
  NetworkUsage,
  Pressure,
  SwapUsage,
} from "../../core/stats/index.ts";
import type {
  CpuUsageSchema,
  FilesystemUsageSchema,
  IoUsageSchema,
  MemoryUsageSchema,
  NetworkUsageSchema,
  PsiStatsSchema,
  SwapUsageSchema,
} from "../../gen/runtime/v1/api_pb.ts";

/** CpuUsage of the CRI. The rate is absent, not zero, until it is known; kubelet then computes it. */
export function criCpu(atNs: bigint, cpu: CpuUsage): MessageInitShape<typeof CpuUsageSchema> {
  return {
    timestamp: atNs,
    usageCoreNanoSeconds: { value: cpu.usageNs },
    ...optional("usageNanoCores", cpu.usageNanoCores),
    ...criPressure(cpu.pressure),
  };
}

/** MemoryUsage of the CRI. */
export function criMemory(
  atNs: bigint,
  memory: MemoryUsage,
): MessageInitShape<typeof MemoryUsageSchema> {
  return {
    timestamp: atNs,
    workingSetBytes: { value: memory.workingSet },
    usageBytes: { value: memory.usage },
    ...optional("availableBytes", memory.available),
    ...optional("rssBytes", memory.rss),
    ...optional("pageFaults", memory.pageFaults),
    ...optional("majorPageFaults", memory.majorPageFaults),
    ...criPressure(memory.pressure),
  };
}

/** SwapUsage of the CRI. */
export function criSwap(atNs: bigint, swap: SwapUsage): MessageInitShape<typeof SwapUsageSchema> {
  return {
    timestamp: atNs,
    swapUsageBytes: { value: swap.usage },
    ...optional("swapAvailableBytes", swap.available),
  };
}

/** IoUsage of the CRI. */
export function criIo(atNs: bigint, io: Pressure): MessageInitShape<typeof IoUsageSchema> {
  return { timestamp: atNs, ...criPressure(io) };
}

/** FilesystemUsage of the CRI. */
export function criLayer(layer: LayerUsage): MessageInitShape<typeof FilesystemUsageSchema> {
  return {
    timestamp: layer.takenAtNs,
    fsId: { mountpoint: layer.mountpoint },
    usedBytes: { value: layer.bytes },
    inodesUsed: { value: layer.inodes },
  };
}

/** The name of the interface with the pod's addresses, which plugins get as CNI_IFNAME. */
const podInterface = "eth0";

/**
 * NetworkUsage of the CRI. The default interface is eth0, or the first interface without an eth0
 * (api.proto).
 *
 * NOTE(kubelet): it reads `default_interface` without checking that it exists, so there is no usage
 * without an interface.
 */
export function criNetwork(
  network: NetworkUsage,
): MessageInitShape<typeof NetworkUsageSchema> | undefined {
  const { interfaces, takenAtNs } = network;
  const main = interfaces.find(({ name }) => name === podInterface) ?? interfaces[0];
  if (main === undefined) return undefined;
  return {
    timestamp: takenAtNs,
    defaultInterface: criInterface(main),
    interfaces: interfaces.filter((other) => other !== main).map(criInterface),
  };
}

function criInterface(counters: NetworkUsage["interfaces"][number]): {
  readonly name: string;
  readonly rxBytes: { readonly value: bigint };
  readonly rxErrors: { readonly value: bigint };
  readonly txBytes: { readonly value: bigint };
  readonly txErrors: { readonly value: bigint };
} {
  return {
    name: counters.name,
    rxBytes: { value: counters.rxBytes },
    rxErrors: { value: counters.rxErrors },
    txBytes: { value: counters.txBytes },
    txErrors: { value: counters.txErrors },
  };
}

function criPressure(pressure: Pressure | undefined): {
  readonly psi?: MessageInitShape<typeof PsiStatsSchema>;
} {
  if (pressure === undefined) return {};
  const { some, full } = pressure;
  // kubelet expects the total in nanoseconds (its PSIData), and containerd sends that.
  const times = (of: NonNullable<Pressure["some"]>): NonNullable<PsiData> => ({
    Total: of.totalNs,
    Avg10: of.avg10,
    Avg60: of.avg60,
    Avg300: of.avg300,
  });
  return {
    psi: {
      ...(full === undefined ? {} : { Full: times(full) }),
      ...(some === undefined ? {} : { Some: times(some) }),
    },
  };
}

type PsiData = Exclude<MessageInitShape<typeof PsiStatsSchema>["Full"], undefined>;

/** A UInt64Value under its name, or nothing, since absent and zero have different meanings. */
function optional<K extends string>(
  name: K,
  value: bigint | undefined,
): Partial<Record<K, { readonly value: bigint }>> {
  return value === undefined ? {} : ({ [name]: { value } } as Record<K, { value: bigint }>);
}
