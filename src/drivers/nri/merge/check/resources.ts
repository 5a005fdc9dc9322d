import type {
  LinuxCPU,
  LinuxDeviceCgroup,
  LinuxMemory,
  LinuxResources,
} from "../../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { quote } from "../../../../base/quote.ts";
import { checkCount, checkNumbers, checkText, type Refuse } from "../answer.ts";

const longestValue = 4096;
const longestName = 256;

/** Refuses resources that no kernel accepts, naming their field. What depends on the node is checked later. */
export function checkResources(resources: LinuxResources, refuse: Refuse): void {
  if (resources.memory !== undefined) checkMemory(resources.memory, refuse);
  if (resources.cpu !== undefined) checkCpu(resources.cpu, refuse);
  checkHugepages(resources, refuse);
  checkUnified(resources, refuse);
  checkClass("resources.blockio_class", resources.blockioClass?.value, refuse);
  checkClass("resources.rdt_class", resources.rdtClass?.value, refuse);
  checkCount("resources.devices", resources.devices.length, refuse);
  for (const rule of resources.devices) checkDeviceRule(rule, refuse);
  const pids = resources.pids?.limit ?? 0n;
  if (pids < -1n) refuse("resources.pids", `must be -1, 0 or a limit, got ${pids}`);
}

/** The same for a container that runs: its device rules are those of its start. */
export function checkUpdateResources(resources: LinuxResources, refuse: Refuse): void {
  checkResources(resources, refuse);
  if (resources.devices.length > 0) {
    refuse("resources.devices", "an update cannot change them, they are for a new container");
  }
}

function checkMemory(memory: LinuxMemory, refuse: Refuse): void {
  for (const field of ["limit", "reservation", "swap", "kernel", "kernelTcp"] as const) {
    const value = memory[field]?.value ?? 0n;
    if (value < -1n) refuse(`resources.memory.${field}`, `must be -1 or a limit, got ${value}`);
  }
  const swappiness = memory.swappiness?.value ?? 0n;
  if (swappiness > 100n) {
    refuse("resources.memory.swappiness", `must be 0 to 100, got ${swappiness}`);
  }
}

// kernel/sched/core.c, tg_set_cfs_bandwidth: at least 1 ms of each, at most 1 s of period. Microseconds.
const leastTime = 1000n;
const longestPeriod = 1_000_000n;
// The CRI has 63 bits.
const most = (1n << 63n) - 1n;

function checkCpu(cpu: LinuxCPU, refuse: Refuse): void {
  const shares = cpu.shares?.value ?? 0n;
  if (shares > most) refuse("resources.cpu.shares", `must be at most ${most}, got ${shares}`);
  const runtime = cpu.realtimeRuntime?.value ?? 0n;
  if (runtime < -1n) {
    refuse("resources.cpu.realtime_runtime", `must be at least -1, got ${runtime}`);
  }
  checkBandwidth(cpu, refuse);
  checkLists(cpu, refuse);
}

function checkBandwidth(cpu: LinuxCPU, refuse: Refuse): void {
  const quota = cpu.quota?.value ?? 0n;
  if (quota !== 0n && quota !== -1n && quota < leastTime) {
    refuse(
      "resources.cpu.quota",
      `must be -1 or at least ${leastTime} (microseconds), got ${quota}`,
    );
  }
  const period = cpu.period?.value ?? 0n;
  if (period !== 0n && (period < leastTime || period > longestPeriod)) {
    refuse(
      "resources.cpu.period",
      `must be ${leastTime} to ${longestPeriod} (microseconds), got ${period}`,
    );
  }
}

function checkLists(cpu: LinuxCPU, refuse: Refuse): void {
  for (const name of ["cpus", "mems"] as const) {
    checkNumbers(`resources.cpu.${name}`, cpu[name], refuse);
  }
}

function checkHugepages({ hugepageLimits }: LinuxResources, refuse: Refuse): void {
  checkCount("resources.hugepage_limits", hugepageLimits.length, refuse);
  for (const { pageSize } of hugepageLimits) {
    if (!/^[1-9][0-9]{0,9}(KB|MB|GB)$/.test(pageSize)) {
      refuse(
        "resources.hugepage_limits",
        `page_size must be a size such as 2MB, got ${quote(pageSize)}`,
      );
    }
  }
}

function checkUnified({ unified }: LinuxResources, refuse: Refuse): void {
  checkCount("resources.unified", Object.keys(unified).length, refuse);
  for (const [file, value] of Object.entries(unified)) {
    if (!/^[a-z0-9_]+(\.[a-zA-Z0-9_]+)+$/.test(file) || file.startsWith("cgroup.")) {
      refuse("resources.unified", `${quote(file)} is not a resource of cgroup v2`);
    }
    checkText(`resources.unified[${quote(file)}]`, value, longestValue, refuse);
  }
}

function checkClass(field: string, name: string | undefined, refuse: Refuse): void {
  if (name !== undefined) checkText(field, name, longestName, refuse);
}

function checkDeviceRule(rule: LinuxDeviceCgroup, refuse: Refuse): void {
  const { type, access, major, minor } = rule;
  if (!["", "a", "b", "c"].includes(type)) {
    refuse("resources.devices", `type must be a, b or c, got ${quote(type)}`);
  }
  if (!/^[rwm]{1,3}$/.test(access) || new Set(access).size !== access.length) {
    refuse("resources.devices", `access must be some of r, w and m, got ${quote(access)}`);
  }
  checkDeviceNumbers("resources.devices", [major?.value, minor?.value], refuse);
}

// include/linux/kdev_t.h: 12 bits for the major number, 20 for the minor one. -1 in a rule stands for all.
const highest = [0xfffn, 0xf_ffffn] as const;

/** Refuses device numbers that the kernel does not have. */
export function checkDeviceNumbers(
  field: string,
  numbers: readonly [major: bigint | undefined, minor: bigint | undefined],
  refuse: Refuse,
): void {
  for (const [index, number] of numbers.entries()) {
    const limit = highest[index] ?? 0n;
    if (number !== undefined && (number < -1n || number > limit)) {
      const name = index === 0 ? "major" : "minor";
      refuse(field, `${name} must be 0 to ${limit}, got ${number}`);
    }
  }
}
