import { quoted } from "../refuse.ts";
import { fieldsAt, flagAt, refuseFile, type Table, tableAt, textAt, textsAt } from "./table.ts";

/** Levels of cache that a processor can allocate. */
export const cacheLevels = ["l2", "l3"] as const;
export type CacheLevel = (typeof cacheLevels)[number];

/** Portions of a cache as the file has them, by cache IDs ("all", "0", "2-3"). */
export type CacheRequest = ReadonlyMap<string, CacheShare>;

/** A portion: of the cache, or of code and data where the kernel separates these. */
export interface CacheShare {
  readonly unified: string;
  readonly code?: string | undefined;
  readonly data?: string | undefined;
}

/** Memory bandwidth by cache IDs: a percentage, MBps or both. */
export type BandwidthRequest = ReadonlyMap<string, readonly string[]>;

/** What a partition or class asks for. Undefined where the file has nothing. */
export interface RdtRequest {
  readonly caches: { readonly [Level in CacheLevel]?: CacheRequest | undefined };
  readonly bandwidth: BandwidthRequest | undefined;
}

/** A class: a resctrl group. */
export interface RdtClassRequest extends RdtRequest {
  readonly denyPodAnnotation: boolean;
  readonly denyContainerAnnotation: boolean;
}

/** The file: partitions by name, which share no cache, each with classes by name. */
export interface RdtConfig {
  /** What the file may ask for although this machine lacks it. */
  readonly optional: { readonly [Resource in CacheLevel | "mb"]: boolean };
  readonly partitions: ReadonlyMap<string, RdtPartition>;
}

/** A part of the caches and of the bandwidth, and the classes in it. */
export interface RdtPartition extends RdtRequest {
  readonly classes: ReadonlyMap<string, RdtClassRequest>;
}

/** The class of all processes that have no other one: the root of resctrl. */
export const rootClass = "system/default";

const allocations = ["l2Allocation", "l3Allocation", "mbAllocation"] as const;

/**
 * The configuration of RDT as containerd and CRI-O read it (goresctrl, doc/rdt.md), from its YAML as a value.
 * `invalid-argument` names the class or partition and what is wrong in it.
 */
export function parseRdtConfig(value: unknown): RdtConfig {
  const { options, partitions } = fieldsAt(value, "the file", ["options", "partitions"]);
  const found = Object.entries(tableAt(partitions, "partitions"));
  const names = new Set<string>();
  return {
    optional: optionalOf(options),
    partitions: new Map(found.map(([name, each]) => [name, partitionOf(name, each, names)])),
  };
}

function optionalOf(options: unknown): RdtConfig["optional"] {
  const fields = fieldsAt(options, "options", ["l2", "l3", "mb"]);
  const isOptional = (name: "l2" | "l3" | "mb"): boolean =>
    flagAt(fieldsAt(fields[name], `options.${name}`, ["optional"]).optional, `options.${name}`);
  return { l2: isOptional("l2"), l3: isOptional("l3"), mb: isOptional("mb") };
}

function partitionOf(name: string, value: unknown, names: Set<string>): RdtPartition {
  const where = `partition ${quoted(name)}`;
  const fields = fieldsAt(value, where, [...allocations, "classes"]);
  const request = requestOf(fields, where);
  const classes = new Map<string, RdtClassRequest>();
  for (const [written, each] of Object.entries(tableAt(fields.classes, `classes of ${where}`))) {
    const className = written === "" ? rootClass : written;
    if (!isClassName(className)) refuseFile(`class ${quoted(written)} cannot be a directory`);
    if (names.has(className)) refuseFile(`class ${quoted(written)} is defined twice`);
    names.add(className);
    classes.set(className, classOf(className, each, { ...request, name: where }));
  }
  return { ...request, classes };
}

/** Whether a class can have this name, which is that of its directory in resctrl. */
function isClassName(name: string): boolean {
  if (name === rootClass) return true;
  return name.length < 256 && name !== "." && name !== ".." && /^[^/\n\0]+$/.test(name);
}

function classOf(
  name: string,
  value: unknown,
  partition: RdtRequest & { readonly name: string },
): RdtClassRequest {
  const where = `class ${quoted(name)}`;
  const fields = fieldsAt(value, where, [...allocations, "kubernetes"]);
  const request = requestOf(fields, where);
  const lacks = [
    ...cacheLevels.filter((level) => request.caches[level] && !partition.caches[level]),
    ...(request.bandwidth && !partition.bandwidth ? ["mb"] : []),
  ];
  if (lacks.length > 0) {
    refuseFile(`${where} has ${lacks.join(" and ")}Allocation, and its ${partition.name} has none`);
  }
  const denied = fieldsAt(fields.kubernetes, `kubernetes of ${where}`, [
    "denyPodAnnotation",
    "denyContainerAnnotation",
  ]);
  return {
    ...request,
    denyPodAnnotation: flagAt(denied.denyPodAnnotation, `denyPodAnnotation of ${where}`),
    denyContainerAnnotation: flagAt(
      denied.denyContainerAnnotation,
      `denyContainerAnnotation of ${where}`,
    ),
  };
}

function requestOf(
  fields: { readonly [Name in (typeof allocations)[number]]?: unknown },
  where: string,
): RdtRequest {
  return {
    caches: {
      l2: cacheRequest(fields.l2Allocation, `l2Allocation of ${where}`),
      l3: cacheRequest(fields.l3Allocation, `l3Allocation of ${where}`),
    },
    bandwidth: bandwidthRequest(fields.mbAllocation, `mbAllocation of ${where}`),
  };
}

function cacheRequest(value: unknown, where: string): CacheRequest | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return new Map([["all", { unified: value }]]);
  const byId = Object.entries(tableAt(value, where));
  return new Map(
    byId.map(([ids, share]) => [ids, cacheShare(share, `${quoted(ids)} in ${where}`)]),
  );
}

function cacheShare(value: unknown, where: string): CacheShare {
  if (typeof value === "string") return { unified: value };
  const fields = fieldsAt(value as Table, where, ["unified", "code", "data"]);
  const unified = textAt(fields.unified, where);
  const code = textAt(fields.code, where);
  const data = textAt(fields.data, where);
  if (unified === undefined || unified === "") refuseFile(`${where} has no portion "unified"`);
  if ((code === undefined) !== (data === undefined)) {
    refuseFile(`${where} must have "code" and "data", or none of them`);
  }
  return { unified, code, data };
}

function bandwidthRequest(value: unknown, where: string): BandwidthRequest | undefined {
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value)) return new Map([["all", textsAt(value, where) ?? []]]);
  const byId = Object.entries(tableAt(value, where));
  return new Map(byId.map(([ids, list]) => [ids, textsAt(list, where) ?? []]));
}
