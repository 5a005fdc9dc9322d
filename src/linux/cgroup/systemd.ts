import { basename } from "node:path";

import { RuntimeError } from "../../base/errors.ts";
import { findProgram } from "../process/child.ts";
import { run } from "../process/run.ts";
import { type CgroupLayout, cgroupDirs } from "./layout.ts";
import { type CgroupResources, weightOfShares } from "./resources.ts";
import { readCgroupFile } from "./files.ts";

/** How long systemd may take for a response. */
const responseMs = 10_000;

/** A property of a unit as busctl(1) writes it: name, signature, value. The value of an array is several words. */
export type UnitProperty = readonly [
  name: string,
  signature: string,
  value: string | readonly string[],
];

/** Calls systemd with arguments of busctl(1); rejects with its error message. */
export type CallSystemd = (args: readonly string[]) => Promise<void>;

/** The number that means "infinity" to systemd. */
const infinity = String(0xffff_ffff_ffff_ffffn);

/** The properties for the v2 files that contain one number, or "max" for no limit. */
const unifiedProperties: ReadonlyMap<string, string> = new Map([
  ["cpu.weight", "CPUWeight"],
  ["memory.min", "MemoryMin"],
  ["memory.low", "MemoryLow"],
  ["memory.high", "MemoryHigh"],
  ["memory.max", "MemoryMax"],
  ["memory.swap.max", "MemorySwapMax"],
  ["memory.zswap.max", "MemoryZSwapMax"],
  ["pids.max", "TasksMax"],
]);

/**
 * The properties of a slice for the limits that systemd manages. Whenever systemd writes the cgroup, it resets limits
 * without a property (systemd.resource-control(5)), and the files of a cpuset exist only if it has a property.
 * systemd does not change huge pages and the other files of v2.
 */
export function limitProperties(
  resources: CgroupResources,
  version: "v1" | "v2",
): readonly UnitProperty[] {
  const isV2 = version === "v2";
  const { cpuShares, cpuQuota, cpuPeriod, memoryLimitBytes, memorySwapLimitBytes } = resources;
  const properties: UnitProperty[] = [];
  const add = (name: string, value: bigint): void => {
    properties.push([name, "t", value < 0n ? infinity : String(value)]);
  };
  if (given(cpuShares)) {
    if (isV2) add("CPUWeight", weightOfShares(cpuShares));
    else add("CPUShares", cpuShares);
  }
  if (given(cpuQuota)) {
    const period = given(cpuPeriod) ? cpuPeriod : 100_000n;
    // Per second; -1 means no quota.
    add("CPUQuotaPerSecUSec", cpuQuota < 0n ? -1n : (cpuQuota * 1_000_000n) / period);
    add("CPUQuotaPeriodUSec", period);
  }
  if (given(memoryLimitBytes)) add(isV2 ? "MemoryMax" : "MemoryLimit", memoryLimitBytes);
  if (isV2 && given(memorySwapLimitBytes)) {
    const swap = memorySwapLimitBytes;
    add("MemorySwapMax", swap < 0n ? swap : swap - (memoryLimitBytes ?? 0n));
  }
  return isV2 ? [...properties, ...unifiedLimits(resources)] : properties;
}

/** The properties for cpusets and for v2 files. */
function unifiedLimits(resources: CgroupResources): readonly UnitProperty[] {
  const { cpusetCpus = "", cpusetMems = "", unified = {} } = resources;
  const properties: UnitProperty[] = [];
  if (cpusetCpus !== "") properties.push(["AllowedCPUs", "ay", bitMask(cpusetCpus)]);
  if (cpusetMems !== "") properties.push(["AllowedMemoryNodes", "ay", bitMask(cpusetMems)]);
  for (const [file, value] of Object.entries(unified)) {
    const name = unifiedProperties.get(file);
    // The kernel refuses other values when the file is written.
    if (name === undefined || !/^(max|\d+)$/.test(value)) continue;
    properties.push([name, "t", value === "max" ? infinity : value]);
  }
  return properties;
}

/** A list as "0-2,5" (cpuset(7)) as busctl writes an array of bytes: the count, then the bytes, lowest bits first. */
export function bitMask(list: string): readonly string[] {
  const bytes: number[] = [];
  for (const part of list.split(",")) {
    const [, first, last] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()) ?? [];
    // The kernel refuses other values when the file is written.
    if (first === undefined) continue;
    for (let bit = Number(first); bit <= Number(last ?? first); bit++) {
      const at = bit >> 3;
      while (bytes.length <= at) bytes.push(0);
      bytes[at] = (bytes[at] ?? 0) | (1 << (bit & 7));
    }
  }
  return [String(bytes.length), ...bytes.map(String)];
}

function given(value: bigint | undefined): value is bigint {
  return value !== undefined && value !== 0n;
}

const manager = [
  "call",
  "org.freedesktop.systemd1",
  "/org/freedesktop/systemd1",
  "org.freedesktop.systemd1.Manager",
] as const;

/** Starts a slice without a unit file; the arguments of busctl (org.freedesktop.systemd1(5)). */
export function startSliceArgs(
  slice: string,
  properties: readonly UnitProperty[],
): readonly string[] {
  const all: readonly UnitProperty[] = [["Description", "s", `davit pod ${slice}`], ...properties];
  return [
    ...[...manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", slice, "fail"],
    ...[String(all.length), ...all.flat(2)],
    "0",
  ];
}

/** Changes properties of a slice or scope until it is stopped. */
export function changeSliceArgs(
  slice: string,
  properties: readonly UnitProperty[],
): readonly string[] {
  return [
    ...[...manager, "SetUnitProperties", "sba(sv)", slice, "true"],
    ...[String(properties.length), ...properties.flat(2)],
  ];
}

/** Stops a slice and everything in it. */
export function stopSliceArgs(slice: string): readonly string[] {
  return [...manager, "StopUnit", "ss", slice, "replace"];
}

/** Runs busctl, which is a part of systemd. `not-found` when systemd does not know the unit. */
export async function callSystemd(args: readonly string[]): Promise<void> {
  const path = process.env["PATH"] ?? "";
  const file = findProgram("busctl", path);
  if (file === undefined) {
    throw new RuntimeError(
      "failed-precondition",
      `call systemd: busctl is not on PATH "${path}"; install systemd's tools, or set runtime.cgroup_driver to "cgroupfs"`,
    );
  }
  const result = await run({ file, args, env: { PATH: path }, timeoutMs: responseMs });
  if (result.code === 0) return;
  const message = result.stderr.toString("utf8").trim();
  // The message of org.freedesktop.systemd1.NoSuchUnit.
  const kind = /not loaded|no such unit/i.test(message) ? "not-found" : "unknown";
  throw new RuntimeError(kind, `call ${args[4] ?? ""} of systemd for ${args[6] ?? ""}: ${message}`);
}

/**
 * Sets the properties of a unit to the values in the files of its cgroup, so that the next write by systemd changes
 * nothing. Does nothing on v1.
 */
export async function syncLimitsToSystemd(
  layout: CgroupLayout,
  path: string,
  call: CallSystemd = callSystemd,
): Promise<void> {
  const [dir = ""] = cgroupDirs(layout, path);
  if (layout.version === "v1") return;
  const value = async (file: string): Promise<string | undefined> => {
    // The file does not exist when its controller is not enabled or the cgroup was removed.
    const text = await readCgroupFile(`${dir}/${file}`).catch(() => undefined);
    return text?.trim();
  };
  const properties: UnitProperty[] = [];
  for (const file of ["cpu.weight", "memory.max", "memory.swap.max"]) {
    const text = await value(file);
    if (text === undefined) continue;
    properties.push(...limitProperties({ unified: { [file]: text } }, "v2"));
  }
  const [quota, period] = (await value("cpu.max"))?.split(" ") ?? [];
  if (quota !== undefined && period !== undefined) {
    const cpuQuota = quota === "max" ? -1n : BigInt(quota);
    properties.push(...limitProperties({ cpuQuota, cpuPeriod: BigInt(period) }, "v2"));
  }
  const cpus = await value("cpuset.cpus");
  if (cpus !== undefined) properties.push(["AllowedCPUs", "ay", bitMask(cpus)]);
  if (properties.length > 0) await call(changeSliceArgs(basename(path), properties));
}
