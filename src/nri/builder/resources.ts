import type {
  HugepageLimit,
  LinuxCPU,
  LinuxDeviceCgroup,
  LinuxMemory,
  LinuxPids,
  LinuxResources,
} from "../messages.ts";
import { key, matching, max, numbers, oneOf, text, whole } from "./check.ts";

/** Resources that are still being set. */
export interface ResourcesDraft {
  readonly memory: { -readonly [K in keyof LinuxMemory]: LinuxMemory[K] };
  readonly cpu: { -readonly [K in keyof LinuxCPU]: LinuxCPU[K] };
  readonly hugepageLimits: HugepageLimit[];
  readonly unified: Record<string, string>;
  readonly devices: LinuxDeviceCgroup[];
  blockioClass?: string;
  rdtClass?: string;
  pids?: LinuxPids;
}

/** A rule of the device cgroup, as plugins write it. */
export interface DeviceRule {
  readonly allow: boolean;
  /** "c", "b", or "a" for both. */
  readonly type: "a" | "b" | "c";
  /** Absent: all. */
  readonly major?: number;
  readonly minor?: number;
  /** Some of "r", "w" and "m". */
  readonly access: string;
}

/**
 * The limits that adjustments of new containers and updates of others have in common. Each method checks its value,
 * throws a TypeError for an invalid one, and returns the builder.
 */
export abstract class ResourcesBuilder {
  readonly #draft: ResourcesDraft = {
    memory: {},
    cpu: { cpus: "", mems: "" },
    hugepageLimits: [],
    unified: {},
    devices: [],
  };

  /** The limit of memory in bytes; -1 is unlimited. */
  memoryLimit(bytes: number | bigint): this {
    this.#draft.memory.limit = whole("memoryLimit", bytes, -1, max.int64);
    return this;
  }

  /** The memory below which nothing is reclaimed first (cgroup v1: soft limit, v2: memory.low), in bytes. */
  memoryReservation(bytes: number | bigint): this {
    this.#draft.memory.reservation = whole("memoryReservation", bytes, -1, max.int64);
    return this;
  }

  /** The limit of memory and swap together, in bytes; -1 is unlimited. */
  memorySwap(bytes: number | bigint): this {
    this.#draft.memory.swap = whole("memorySwap", bytes, -1, max.int64);
    return this;
  }

  /** The limit of kernel memory in bytes (cgroup v1). */
  kernelMemory(bytes: number | bigint): this {
    this.#draft.memory.kernel = whole("kernelMemory", bytes, -1, max.int64);
    return this;
  }

  /** The limit of the kernel's TCP buffers in bytes (cgroup v1). */
  kernelTcpMemory(bytes: number | bigint): this {
    this.#draft.memory.kernelTcp = whole("kernelTcpMemory", bytes, -1, max.int64);
    return this;
  }

  /** How readily the kernel swaps, from 0 to 100 (cgroup v1). */
  memorySwappiness(value: number): this {
    this.#draft.memory.swappiness = whole("memorySwappiness", value, 0, 100);
    return this;
  }

  /** Pauses the container instead of killing a process when memory is used up (cgroup v1). */
  disableOomKiller(): this {
    this.#draft.memory.disableOomKiller = true;
    return this;
  }

  /** Counts the memory of child cgroups, too (cgroup v1). */
  useHierarchy(): this {
    this.#draft.memory.useHierarchy = true;
    return this;
  }

  /** The weight of CPU time, from 2 to 262144; 1024 is one CPU of Kubernetes. */
  cpuShares(shares: number): this {
    this.#draft.cpu.shares = whole("cpuShares", shares, 2, 262_144);
    return this;
  }

  /** The CPU time of each period in microseconds; -1 is unlimited. */
  cpuQuota(microseconds: number | bigint): this {
    this.#draft.cpu.quota = whole("cpuQuota", microseconds, -1, max.int64);
    return this;
  }

  /** The length of a period in microseconds, from 1000 to 1000000. */
  cpuPeriod(microseconds: number): this {
    this.#draft.cpu.period = whole("cpuPeriod", microseconds, 1000, 1_000_000);
    return this;
  }

  /** The time of realtime processes in each realtime period, in microseconds (cgroup v1). */
  cpuRealtimeRuntime(microseconds: number | bigint): this {
    this.#draft.cpu.realtimeRuntime = whole("cpuRealtimeRuntime", microseconds, 0, max.int64);
    return this;
  }

  /** The length of a realtime period in microseconds (cgroup v1). */
  cpuRealtimePeriod(microseconds: number | bigint): this {
    this.#draft.cpu.realtimePeriod = whole("cpuRealtimePeriod", microseconds, 0, max.uint64);
    return this;
  }

  /** The CPUs on which the container may run, such as "0-3,8". */
  cpusetCpus(cpus: string): this {
    this.#draft.cpu.cpus = numbers("cpusetCpus", cpus);
    return this;
  }

  /** The memory nodes from which the container may allocate, such as "0-1". */
  cpusetMems(nodes: string): this {
    this.#draft.cpu.mems = numbers("cpusetMems", nodes);
    return this;
  }

  /** The limit of processes and threads; -1 is unlimited. */
  pidsLimit(count: number): this {
    this.#draft.pids = { limit: whole("pidsLimit", count, -1, max.int64) };
    return this;
  }

  /** The limit of huge pages of one size, such as "2MB", in bytes. */
  hugepageLimit(pageSize: string, bytes: number | bigint): this {
    this.#draft.hugepageLimits.push({
      pageSize: matching("hugepageLimit", pageSize, /^\d+[KMG]B$/, 'a size such as "2MB"'),
      limit: whole("hugepageLimit", bytes, 0, max.uint64),
    });
    return this;
  }

  /** The class of block I/O, from the runtime's configuration. */
  blockioClass(name: string): this {
    this.#draft.blockioClass = text("blockioClass", name, true);
    return this;
  }

  /** The class of RDT, from the runtime's configuration. */
  rdtClass(name: string): this {
    this.#draft.rdtClass = text("rdtClass", name, true);
    return this;
  }

  /** A file of cgroup v2 and its value, such as "memory.high". */
  unified(file: string, value: string): this {
    const expected = 'a file of cgroup v2, such as "memory.high"';
    matching("unified", key("unified", file), /^[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/, expected);
    this.#draft.unified[file] = text("unified", value, true);
    return this;
  }

  /** A rule of the device cgroup, without a device node. */
  deviceRule(rule: DeviceRule): this {
    const { allow, major, minor } = rule;
    const all = major === undefined && minor === undefined;
    this.#draft.devices.push({
      allow,
      type: all
        ? oneOf("deviceRule", rule.type, ["a", "b", "c"])
        : oneOf("deviceRule with numbers", rule.type, ["b", "c"]),
      ...(major === undefined ? {} : { major: whole("deviceRule", major, 0, max.uint32) }),
      ...(minor === undefined ? {} : { minor: whole("deviceRule", minor, 0, max.uint32) }),
      access: matching("deviceRule", rule.access, /^[rwm]{1,3}$/, 'some of "r", "w" and "m"'),
    });
    return this;
  }

  /** What was set; undefined if nothing was. */
  protected resources(): LinuxResources | undefined {
    const { memory, cpu, ...rest } = this.#draft;
    const hasCpu = Object.keys(cpu).length > 2 || cpu.cpus !== "" || cpu.mems !== "";
    const hasMemory = Object.keys(memory).length > 0;
    const others = [rest.hugepageLimits, rest.devices, Object.keys(rest.unified)];
    const hasMore =
      others.some(({ length }) => length > 0) ||
      [rest.blockioClass, rest.rdtClass, rest.pids].some((value) => value !== undefined);
    if (!hasCpu && !hasMemory && !hasMore) return undefined;
    return structuredClone({
      ...rest,
      ...(hasMemory ? { memory } : {}),
      ...(hasCpu ? { cpu } : {}),
    });
  }
}
