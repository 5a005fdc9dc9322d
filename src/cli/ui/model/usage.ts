import type { ContainerStats, CpuUsage, PodSandboxStats } from "../../../gen/runtime/v1/api_pb.ts";
import type { UsageView } from "../../../page/view.ts";

interface Sample {
  readonly atNs: bigint;
  readonly value: bigint;
}

interface Rate {
  readonly sample: Sample;
  /** Per second; undefined for the first sample. */
  readonly rate: number | undefined;
}

/** No value is known. */
const noUsage: UsageView = {
  cpu: undefined,
  memory: undefined,
  disk: undefined,
  rx: undefined,
  tx: undefined,
};

/** Usage from successive samples of the CRI's counters. Objects that are not in a sample are forgotten. */
export class Usage {
  #rates = new Map<string, Rate>();
  #views = new Map<string, UsageView>();

  /** Takes a sample of all containers and pods; servers without pod statistics have none of pods. */
  update(containers: readonly ContainerStats[], pods: readonly PodSandboxStats[]): void {
    const rates = new Map<string, Rate>();
    const rateOf: RateOf = (key, sample) => {
      if (sample === undefined) return undefined;
      const next = advance(this.#rates.get(key), sample);
      rates.set(key, next);
      return next.rate;
    };
    this.#views = new Map([
      ...containers.map((each) => [each.attributes?.id ?? "", ofContainer(each, rateOf)] as const),
      ...pods.map((each) => [each.attributes?.id ?? "", ofPod(each, rateOf)] as const),
    ]);
    this.#rates = rates;
  }

  /** The usage of a container or pod. */
  of(id: string): UsageView {
    return this.#views.get(id) ?? noUsage;
  }
}

/** The change per second of a counter since its last sample. */
type RateOf = (key: string, sample: Sample | undefined) => number | undefined;

function ofContainer({ attributes, ...stats }: ContainerStats, rateOf: RateOf): UsageView {
  const { cpu, memory, writableLayer } = stats;
  return {
    ...noUsage,
    cpu: cpuOf(attributes?.id, cpu, rateOf),
    memory: numberOf(memory?.workingSetBytes),
    disk: numberOf(writableLayer?.usedBytes),
  };
}

function ofPod({ attributes, linux }: PodSandboxStats, rateOf: RateOf): UsageView {
  const id = attributes?.id ?? "";
  const { cpu, memory, network } = linux ?? {};
  const { rxBytes, txBytes } = network?.defaultInterface ?? {};
  return {
    cpu: cpuOf(id, cpu, rateOf),
    memory: numberOf(memory?.workingSetBytes),
    disk: undefined,
    rx: rateOf(`${id} rx`, sampleOf(network?.timestamp, rxBytes)),
    tx: rateOf(`${id} tx`, sampleOf(network?.timestamp, txBytes)),
  };
}

function cpuOf(id = "", cpu: CpuUsage | undefined, rateOf: RateOf): number | undefined {
  const ns = rateOf(`${id} cpu`, sampleOf(cpu?.timestamp, cpu?.usageCoreNanoSeconds));
  return ns === undefined ? undefined : ns / 1e9;
}

function advance(before: Rate | undefined, sample: Sample): Rate {
  if (before === undefined) return { sample, rate: undefined };
  const ns = Number(sample.atNs - before.sample.atNs);
  // The server has returned the same sample twice, or the counter began again.
  if (ns <= 0) return before;
  if (sample.value < before.sample.value) return { sample, rate: undefined };
  return { sample, rate: (Number(sample.value - before.sample.value) / ns) * 1e9 };
}

interface Wrapped {
  readonly value: bigint;
}

function sampleOf(atNs: bigint | undefined, value: Wrapped | undefined): Sample | undefined {
  return atNs === undefined || value === undefined ? undefined : { atNs, value: value.value };
}

function numberOf(value: Wrapped | undefined): number | undefined {
  return value === undefined ? undefined : Number(value.value);
}

/** The sum of the known values; undefined if none is known. */
export function sumUsage(parts: readonly UsageView[]): UsageView {
  const sum = (key: keyof UsageView): number | undefined => {
    const known = parts.map((part) => part[key]).filter((value) => value !== undefined);
    return known.length === 0 ? undefined : known.reduce((total, value) => total + value, 0);
  };
  return {
    cpu: sum("cpu"),
    memory: sum("memory"),
    disk: sum("disk"),
    rx: sum("rx"),
    tx: sum("tx"),
  };
}
