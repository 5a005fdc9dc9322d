import { RuntimeError } from "../../base/errors.ts";
import type { CgroupResources } from "../../core/sandbox/index.ts";
import { findProgram, run, weightOfShares } from "../../linux/index.ts";

/** How long systemd may take for an answer. */
const answerMs = 10_000;

/** A property of a unit as busctl(1) writes it: name, signature, value. */
export type UnitProperty = readonly [name: string, signature: string, value: string];

/** Asks systemd to do something; rejects with its words. */
export type CallSystemd = (args: readonly string[]) => Promise<void>;

/**
 * The properties of a slice for the limits that systemd has an opinion of: what it is not told it
 * takes away whenever it writes the cgroup (systemd.resource-control(5)). Huge pages, CPU sets and
 * unified files it leaves alone.
 */
export function limitProperties(
  resources: CgroupResources,
  version: "v1" | "v2",
): readonly UnitProperty[] {
  const isV2 = version === "v2";
  const { cpuShares, cpuQuota, cpuPeriod, memoryLimitBytes, memorySwapLimitBytes } = resources;
  const properties: UnitProperty[] = [];
  const add = (name: string, value: bigint): void => {
    // systemd's "infinity" is the largest number there is.
    properties.push([name, "t", String(value < 0n ? 0xffff_ffff_ffff_ffffn : value)]);
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
  return properties;
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
    ...[String(all.length), ...all.flat()],
    "0",
  ];
}

/** Changes a slice until it is stopped. */
export function changeSliceArgs(
  slice: string,
  properties: readonly UnitProperty[],
): readonly string[] {
  return [
    ...[...manager, "SetUnitProperties", "sba(sv)", slice, "true"],
    ...[String(properties.length), ...properties.flat()],
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
