import type { OciBlockDevice, OciBlockIo, OciThrottle } from "../../core/oci/index.ts";
import { quoted } from "../refuse.ts";
import { parseQuantity } from "./quantity.ts";
import { fieldsAt, refuseFile, tableAt, textAt, textsAt } from "./table.ts";

/** Parameters for devices; a later item of a class overrides an earlier one for the devices of both. */
export interface BlockIoItem {
  /** Patterns of paths; undefined for the weight of all devices that no item names. */
  readonly devices: readonly string[] | undefined;
  readonly weight: number | undefined;
  /** The most per second; 0 for no limit. */
  readonly rates: { readonly [Rate in BlockIoRate]?: bigint };
}

/** What the kernel limits. */
type BlockIoRate = (typeof rates)[number]["field"];

/** The classes of block I/O of a file, by name. */
export type BlockIoClasses = ReadonlyMap<string, readonly BlockIoItem[]>;

/** A block device of the node. */
export interface BlockIoDevice extends OciBlockDevice {
  readonly path: string;
}

/** The kernel keeps a rate of operations in 32 bits (block/blk-throttle.h). */
const mostOperations = 2n ** 32n - 1n;

const rates = [
  { key: "ThrottleReadBps", field: "throttleReadBpsDevice", most: undefined },
  { key: "ThrottleWriteBps", field: "throttleWriteBpsDevice", most: undefined },
  { key: "ThrottleReadIOPS", field: "throttleReadIOPSDevice", most: mostOperations },
  { key: "ThrottleWriteIOPS", field: "throttleWriteIOPSDevice", most: mostOperations },
] as const;

const itemKeys = ["Devices", "Weight", ...rates.map(({ key }) => key)] as const;

/**
 * The classes of a file as containerd and CRI-O read it (goresctrl, doc/blockio.md), from its YAML as a value.
 * `invalid-argument` names the class and what is wrong in it.
 */
export function parseBlockIoClasses(value: unknown): BlockIoClasses {
  const { Classes } = fieldsAt(value, "the file", ["Classes"]);
  const classes = Object.entries(tableAt(Classes, "Classes"));
  return new Map(classes.map(([name, items]) => [name, itemsOf(items, `class ${quoted(name)}`)]));
}

function itemsOf(items: unknown, where: string): readonly BlockIoItem[] {
  if (items === undefined || items === null) return [];
  if (!Array.isArray(items)) refuseFile(`${where} must be a list`);
  return items.map((item) => itemOf(item, where));
}

function itemOf(item: unknown, where: string): BlockIoItem {
  const fields = fieldsAt(item, where, itemKeys);
  const devices = textsAt(fields.Devices, `Devices of ${where}`);
  const found: { [Rate in BlockIoRate]?: bigint } = {};
  for (const { key, field, most } of rates) {
    const rate = numberAt(fields[key], `${key} of ${where}`, 0n, most);
    if (rate === undefined) continue;
    if (devices === undefined) refuseFile(`${key} of ${where} needs Devices`);
    found[field] = rate;
  }
  // As of blkio.weight (cgroup-v1/blkio-controller.rst); on v2 the OCI runtime converts it.
  const weight = numberAt(fields.Weight, `Weight of ${where}`, 10n, 1000n);
  return {
    devices,
    weight: weight === undefined ? undefined : Number(weight),
    rates: found,
  };
}

function numberAt(
  value: unknown,
  where: string,
  least: bigint,
  most: bigint | undefined,
): bigint | undefined {
  const text = textAt(value, where);
  if (text === undefined || text === "") return undefined;
  const number = parseQuantity(text);
  if (number !== undefined && number >= least && number <= (most ?? number)) return number;
  const range = most === undefined ? `of at least ${least}` : `from ${least} to ${most}`;
  return refuseFile(`${where} must be a number ${range}, such as 50M, got ${quoted(text)}`);
}

/** The limits of a class: `devicesOf` has the node's devices for the patterns of an item. */
export function blockIoLimits(
  items: readonly BlockIoItem[],
  devicesOf: (item: BlockIoItem) => readonly BlockIoDevice[],
): OciBlockIo {
  let weight: number | undefined;
  const weights = new Map<string, OciBlockDevice & { readonly weight: number }>();
  const throttles = new Map(rates.map(({ field }) => [field, new Map<string, OciThrottle>()]));
  for (const item of items) {
    if (item.devices === undefined) {
      weight = item.weight ?? weight;
      continue;
    }
    for (const { major, minor } of devicesOf(item)) {
      const key = `${major}:${minor}`;
      if (item.weight !== undefined) weights.set(key, { major, minor, weight: item.weight });
      for (const { field } of rates) {
        const rate = item.rates[field];
        if (rate !== undefined) throttles.get(field)?.set(key, { major, minor, rate });
      }
    }
  }
  const limits: Record<string, readonly OciThrottle[]> = {};
  for (const [field, ofDevices] of throttles) {
    // A new cgroup has no limit, and io.max of v2 does not take a 0.
    const some = [...ofDevices.values()].filter(({ rate }) => rate > 0n);
    if (some.length > 0) limits[field] = some;
  }
  return {
    ...(weight === undefined ? {} : { weight }),
    ...(weights.size === 0 ? {} : { weightDevice: [...weights.values()] }),
    ...limits,
  };
}
