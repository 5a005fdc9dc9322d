import { messageOf } from "../../base/errors.ts";
import { quoted } from "../refuse.ts";
import {
  type CacheLevel,
  cacheLevels,
  type RdtClassRequest,
  type RdtConfig,
  type RdtPartition,
} from "./rdt-config.ts";
import {
  block,
  byId,
  type CacheInfo,
  countBits,
  hex,
  maskWithin,
  type Portion,
  portionOf,
  type PortionType,
  sharesById,
} from "./rdt-share.ts";
import { refuseFile } from "./table.ts";

/** What this machine can allocate (info/ of resctrl). A resource that it does not have is undefined. */
export interface RdtInfo {
  readonly caches: { readonly [Level in CacheLevel]?: CacheInfo | undefined };
  readonly bandwidth?: BandwidthInfo | undefined;
}

/** Allocation of memory bandwidth. */
export interface BandwidthInfo {
  readonly ids: readonly number[];
  /** In percent. */
  readonly least: number;
  /** Whether resctrl is mounted with mba_MBps, so that values are MBps and not percentages. */
  readonly isMbps: boolean;
}

/** The kernel's value for no limit in MBps (fs/resctrl, MBA_MAX_MBPS). */
const noLimitMbps = 2 ** 32 - 1;

/** The masks of a partition, for each cache and type, of one level. */
type PartitionMasks = ReadonlyMap<string, bigint>;

/**
 * The text of the `schemata` file of each class, by its name, as goresctrl computes it: partitions share no part of
 * a cache, and what a class asks for is a portion of its partition's. `invalid-argument` for what does not fit,
 * `failed-precondition` for what this machine cannot allocate and the file does not call optional.
 */
export function rdtSchemata(config: RdtConfig, info: RdtInfo): ReadonlyMap<string, string> {
  const partitions = [...config.partitions.keys()].toSorted();
  const masks = new Map(
    cacheLevels.map((level) => [level, partitionMasks(config, partitions, level, info)]),
  );
  const schemata = new Map<string, string>();
  for (const [partitionName, partition] of config.partitions) {
    for (const [name, request] of partition.classes) {
      const lines = cacheLevels.flatMap((level) => {
        const cache = info.caches[level];
        if (cache === undefined) return notHere(config, name, level, request.caches[level]);
        const ofLevel = masks.get(level) ?? new Map<string, bigint>();
        return cacheLines({ name, request, level, cache, partitionName, masks: ofLevel });
      });
      const bandwidth = info.bandwidth
        ? [bandwidthLine(name, request, partition, info.bandwidth)]
        : notHere(config, name, "mb", request.bandwidth);
      schemata.set(name, [...lines, ...bandwidth].map((line) => `${line}\n`).join(""));
    }
  }
  return schemata;
}

function notHere(
  config: RdtConfig,
  name: string,
  resource: CacheLevel | "mb",
  request: object | undefined,
): readonly string[] {
  if (request === undefined || config.optional[resource]) return [];
  return refuseFile(
    `class ${quoted(name)} has ${resource}Allocation, which this machine cannot allocate; set options.${resource}.optional`,
  );
}

function typesOf({ isCdp }: CacheInfo): readonly PortionType[] {
  return isCdp ? ["code", "data"] : ["unified"];
}

function partitionMasks(
  config: RdtConfig,
  names: readonly string[],
  level: CacheLevel,
  info: RdtInfo,
): PartitionMasks {
  const cache = info.caches[level];
  const masks = new Map<string, bigint>();
  if (cache === undefined) return masks;
  const shares = new Map(
    names.map((name) => {
      const request = config.partitions.get(name)?.caches[level];
      return [name, request && sharesById(request, cache.ids)] as const;
    }),
  );
  for (const id of cache.ids) {
    for (const type of typesOf(cache)) {
      const asked = new Map<string, Portion>();
      const missing: string[] = [];
      for (const name of names) {
        const portion = portionOf(shares.get(name)?.get(id), type, cache);
        if (portion === undefined) missing.push(name);
        else asked.set(name, portion);
      }
      if (asked.size === 0) continue;
      if (missing.length > 0) {
        refuseFile(
          `partitions ${missing.map(quoted).join(", ")} have no ${level}Allocation, and others have`,
        );
      }
      const where = `${level}Allocation of cache ${id}`;
      for (const [name, mask] of divided(asked, cache, where)) {
        masks.set(`${name}/${id}/${type}`, mask);
      }
    }
  }
  return masks;
}

/** The masks of partitions, which do not overlap. */
function divided(
  asked: ReadonlyMap<string, Portion>,
  cache: CacheInfo,
  where: string,
): ReadonlyMap<string, bigint> {
  const percents = new Map<string, number>();
  const masks = new Map<string, bigint>();
  let taken = 0n;
  for (const [name, portion] of asked) {
    if (portion.kind === "percent") {
      if (portion.isRange) refuseFile(`${where}: a partition cannot have a range of percentages`);
      percents.set(name, portion.high);
      continue;
    }
    if ((portion.mask & taken) !== 0n) refuseFile(`${where}: partition ${quoted(name)} overlaps`);
    if ((portion.mask | cache.mask) !== cache.mask) {
      refuseFile(`${where}: ${hex(portion.mask)} is not within ${hex(cache.mask)}`);
    }
    taken |= portion.mask;
    masks.set(name, portion.mask);
  }
  if (percents.size === 0) return masks;
  if (masks.size > 0)
    refuseFile(`${where}: partitions must all have percentages or all have masks`);
  return byPercent(percents, cache, where);
}

/** Smallest first, so that one that is rounded up to the fewest bits takes them from larger ones. */
function byPercent(
  percents: ReadonlyMap<string, number>,
  cache: CacheInfo,
  where: string,
): ReadonlyMap<string, bigint> {
  const total = [...percents.values()].reduce((sum, percent) => sum + percent, 0);
  if (total > 100) refuseFile(`${where}: partitions have ${total}% together, at most 100%`);
  const bitsTotal = Math.floor((total * countBits(cache.mask)) / 100);
  const ascending = [...percents].toSorted(([, a], [, b]) => a - b);
  const granted = new Map<string, number>();
  let left = bitsTotal;
  for (const [index, [name, percent]] of ascending.entries()) {
    if (left < cache.minBits || left === 0) refuseFile(`${where}: too few bits for all partitions`);
    const percentLeft = Math.floor((left * total) / bitsTotal);
    const bits = Math.max(Math.floor((percent * left) / percentLeft), cache.minBits);
    const isLast = index === ascending.length - 1;
    granted.set(name, isLast ? left : Math.min(bits, left));
    left -= granted.get(name) ?? 0;
  }
  const masks = new Map<string, bigint>();
  let first = 0;
  for (const name of percents.keys()) {
    const bits = granted.get(name) ?? 0;
    masks.set(name, block(bits) << BigInt(first));
    first += bits;
  }
  return masks;
}

function cacheLines(of: {
  readonly name: string;
  readonly request: RdtClassRequest;
  readonly level: CacheLevel;
  readonly cache: CacheInfo;
  readonly partitionName: string;
  readonly masks: PartitionMasks;
}): readonly string[] {
  const { name, request, level, cache, partitionName, masks } = of;
  const asked = request.caches[level];
  const shares = asked && sharesById(asked, cache.ids);
  return typesOf(cache).map((type) => {
    const parts = cache.ids.map((id) => {
      const base = masks.get(`${partitionName}/${id}/${type}`) ?? cache.mask;
      const mask = maskOf(
        () => {
          const portion = portionOf(shares?.get(id), type, cache);
          return portion === undefined ? base : maskWithin(portion, base, cache.minBits);
        },
        `${level}Allocation of class ${quoted(name)}`,
      );
      return `${id}=${mask.toString(16)}`;
    });
    const suffix = type === "unified" ? "" : type.toUpperCase();
    return `${level.toUpperCase()}${suffix}:${parts.join(";")}`;
  });
}

function maskOf(compute: () => bigint, where: string): bigint {
  try {
    return compute();
  } catch (error) {
    return refuseFile(`${where}: ${messageOf(error)}`);
  }
}

function bandwidthLine(
  name: string,
  request: RdtClassRequest,
  partition: RdtPartition,
  info: BandwidthInfo,
): string {
  const most = info.isMbps ? noLimitMbps : 100;
  const valuesOf = (asked: RdtClassRequest["bandwidth"]): ReadonlyMap<number, number> => {
    const lists = byId(asked ?? new Map<string, never>(), info.ids, undefined);
    return new Map(
      [...lists].map(([id, list]) => [id, list === undefined ? most : valueOf(list, info, name)]),
    );
  };
  const base = valuesOf(partition.bandwidth);
  const own = valuesOf(request.bandwidth);
  const parts = info.ids.map((id) => {
    const [ofPartition, ofClass] = [base.get(id) ?? most, own.get(id) ?? most];
    if (info.isMbps) return `${id}=${Math.min(ofPartition, ofClass)}`;
    const floor = Math.max(ofPartition, info.least);
    return `${id}=${Math.max(info.least, Math.floor((ofClass * floor) / 100))}`;
  });
  return `MB:${parts.join(";")}`;
}

/** The first value of a list in the unit that counts. */
function valueOf(list: readonly string[], { isMbps }: BandwidthInfo, name: string): number {
  const unit = isMbps ? "MBps" : "%";
  const text = list.find((each) => each.endsWith(unit));
  const value = Number(/^\d{1,10}$/.exec(text?.slice(0, -unit.length) ?? "")?.[0] ?? Number.NaN);
  if (value <= (isMbps ? noLimitMbps : 100)) return value;
  return refuseFile(
    `mbAllocation of class ${quoted(name)} or its partition needs a value such as ${isMbps ? "1000MBps" : "50%"}`,
  );
}
