import { basename } from "node:path";

import { RuntimeError } from "../../base/errors.ts";
import { findProgram } from "../process/child.ts";
import { run } from "../process/run.ts";
import { type CgroupLayout, cgroupDirs } from "./layout.ts";
import { type CgroupResources, weightOfShares } from "./resources.ts";
import { readCgroupFile } from "./files.ts";

/** How long systemd may take for an answer. */
const answerMs = 10_000;

/** A property of a unit as busctl(1) writes it: name, signature, value; that of an array is several words. */
export type UnitProperty = readonly [
  name: string,
  signature: string,
  value: string | readonly string[],
];

/** Asks systemd to do something; rejects with its words. */
export type CallSystemd = (args: readonly string[]) => Promise<void>;

/** systemd's "infinity" is the largest number there is. */
const infinity = String(0xffff_ffff_ffff_ffffn);

/** The properties for v2's files that are one number, of which "max" is none. */
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
 * The properties of a slice for the limits that systemd has an opinion of: what it is not told it
 * takes away whenever it writes the cgroup (systemd.resource-control(5)), and a cpuset only has its
 * files where systemd knows of one. Huge pages and v2's other files it leaves alone.
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
    // Per second of time; -1 is none.
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

/** Of the CPU sets and of v2's files. */
function unifiedLimits(resources: CgroupResources): readonly UnitProperty[] {
  const { cpusetCpus = "", cpusetMems = "", unified = {} } = resources;
  const properties: UnitProperty[] = [];
  if (cpusetCpus !== "") properties.push(["AllowedCPUs", "ay", bitMask(cpusetCpus)]);
  if (cpusetMems !== "") properties.push(["AllowedMemoryNodes", "ay", bitMask(cpusetMems)]);
  for (const [file, value] of Object.entries(unified)) {
    const name = unifiedProperties.get(file);
    // What is no number the kernel refuses when the file is written.
    if (name === undefined || !/^(max|\d+)$/.test(value)) continue;
    properties.push([name, "t", value === "max" ? infinity : value]);
  }
  return properties;
}

/** A list as "0-2,5" (cpuset(7)) as busctl writes an array of bytes: their count, then each, the lowest bits first. */
export function bitMask(list: string): readonly string[] {
  const bytes: number[] = [];
  for (const part of list.split(",")) {
    const [, first, last] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()) ?? [];
    // What is no list the kernel refuses when the file is written.
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

/** Makes a slice that is nobody's unit file; the arguments of busctl (org.freedesktop.systemd1(5)). */
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

/** Changes a slice, or a scope, until it is stopped. */
export function changeSliceArgs(
  slice: string,
  properties: readonly UnitProperty[],
): readonly string[] {
  return [
    ...[...manager, "SetUnitProperties", "sba(sv)", slice, "true"],
    ...[String(properties.length), ...properties.flat(2)],
  ];
}

/** Ends a slice with all that is in it. */
export function stopSliceArgs(slice: string): readonly string[] {
  return [...manager, "StopUnit", "ss", slice, "replace"];
}

/** Runs busctl, which is a part of systemd. */
export async function callSystemd(args: readonly string[]): Promise<void> {
  const path = process.env["PATH"] ?? "";
  const file = findProgram("busctl", path);
  if (file === undefined) {
    throw new RuntimeError(
      "failed-precondition",
      `ask systemd: busctl is not on PATH "${path}"; install systemd's tools, or set runtime.cgroup_driver to "cgroupfs"`,
    );
  }
  const result = await run({ file, args, env: { PATH: path }, timeoutMs: answerMs });
  if (result.code === 0) return;
  const said = result.stderr.toString("utf8").trim();
  // org.freedesktop.systemd1.NoSuchUnit, in the words of its message.
  const kind = /not loaded|no such unit/i.test(said) ? "not-found" : "unknown";
  throw new RuntimeError(kind, `ask systemd to ${args[4] ?? ""} ${args[6] ?? ""}: ${said}`);
}

/**
 * Has systemd take over what the files of a unit's cgroup say, so that its next write of them changes
 * nothing. v2 alone: on v1 nothing is done.
 */
export async function syncLimitsToSystemd(
  layout: CgroupLayout,
  path: string,
  call: CallSystemd = callSystemd,
): Promise<void> {
  const [dir = ""] = cgroupDirs(layout, path);
  if (layout.version === "v1") return;
  const value = async (file: string): Promise<string | undefined> => {
    // Not there where its controller is not enabled, or the cgroup is gone.
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
