import {
  hookStages,
  type IntelRdt,
  type OciCpu,
  type OciHooks,
  type OciIoPriority,
  type OciMemory,
  type OciMount,
  type OciResources,
  type OciScheduler,
  type OciSeccomp,
  type OciSpec,
} from "../../../core/oci/index.ts";
import {
  type HooksSchema,
  IOPrioClass,
  type LinuxContainerSchema,
  type LinuxCPUSchema,
  type LinuxIOPrioritySchema,
  type LinuxMemorySchema,
  type LinuxNetDeviceSchema,
  type LinuxRdtSchema,
  type LinuxResourcesSchema,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  type LinuxSchedulerSchema,
  type LinuxSeccompSchema,
  type MountSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { Fields } from "./fields.ts";

/** The mounts of a spec. */
export function describeMounts(mounts: readonly OciMount[]): Fields<typeof MountSchema>[] {
  return mounts.map(({ destination, type, source, options }) => ({
    destination,
    type,
    source,
    options: [...options],
  }));
}

/** The hooks of a spec. */
export function describeHooks(hooks: OciHooks): Fields<typeof HooksSchema> {
  const of = (stage: keyof OciHooks) =>
    (hooks[stage] ?? []).map(({ path, args = [], env = [], timeout }) => ({
      path,
      args: [...args],
      env: [...env],
      ...(timeout === undefined ? {} : { timeout: { value: BigInt(timeout) } }),
    }));
  return Object.fromEntries(hookStages.map((stage) => [stage, of(stage)]));
}

/** The Linux part of a spec. */
export function describeLinux({ linux, process }: OciSpec): Fields<typeof LinuxContainerSchema> {
  const { devices = [], namespaces, seccomp, intelRdt } = linux;
  return {
    namespaces: namespaces.map(({ type, path = "" }) => ({ type, path })),
    devices: devices.map(({ path, type, major, minor, fileMode, uid, gid }) => ({
      path,
      type,
      major: BigInt(major),
      minor: BigInt(minor),
      fileMode: { value: fileMode },
      uid: { value: uid },
      gid: { value: gid },
    })),
    resources: describeResources(linux.resources),
    ...(process.oomScoreAdj === undefined
      ? {}
      : { oomScoreAdj: { value: BigInt(process.oomScoreAdj) } }),
    cgroupsPath: linux.cgroupsPath,
    ...(process.ioPriority && { ioPriority: describeIoPriority(process.ioPriority) }),
    ...(process.scheduler && { scheduler: describeScheduler(process.scheduler) }),
    sysctl: { ...linux.sysctl },
    netDevices: describeNetDevices(linux.netDevices ?? {}),
    ...(seccomp && { seccompPolicy: describeSeccomp(seccomp) }),
    ...(intelRdt && { rdt: describeRdt(intelRdt) }),
  };
}

function describeIoPriority(priority: OciIoPriority): Fields<typeof LinuxIOPrioritySchema> {
  return { class: numberOf(IOPrioClass, priority.class), priority: priority.priority };
}

function describeScheduler(scheduler: OciScheduler): Fields<typeof LinuxSchedulerSchema> {
  const { policy, nice, priority, flags = [], runtime, deadline, period } = scheduler;
  return {
    policy: numberOf(LinuxSchedulerPolicy, policy),
    nice: nice ?? 0,
    priority: priority ?? 0,
    flags: flags.map((flag) => numberOf(LinuxSchedulerFlag, flag)),
    runtime: runtime ?? 0n,
    deadline: deadline ?? 0n,
    period: period ?? 0n,
  };
}

/** The number of an enum's name, which is the same in specs; that of its first name for an unknown one. */
function numberOf<T extends number>(numbers: Readonly<Record<string, T>>, name: string): T {
  return numbers[name] ?? (0 as T);
}

function describeNetDevices(
  devices: NonNullable<OciSpec["linux"]["netDevices"]>,
): Record<string, Fields<typeof LinuxNetDeviceSchema>> {
  const entries = Object.entries(devices);
  return Object.fromEntries(entries.map(([host, { name = "" }]) => [host, { name }]));
}

/** Limits of a spec. */
function describeResources(resources: OciResources): Fields<typeof LinuxResourcesSchema> {
  const { cpu, memory, pids, hugepageLimits = [], unified = {}, devices = [] } = resources;
  return {
    ...(cpu && { cpu: describeCpu(cpu) }),
    ...(memory && { memory: describeMemory(memory) }),
    ...(pids && { pids: { limit: pids.limit } }),
    hugepageLimits: hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit })),
    unified: { ...unified },
    devices: devices.map(({ allow, type = "", major, minor, access }) => ({
      allow,
      type,
      ...optional("major", major === undefined ? undefined : BigInt(major)),
      ...optional("minor", minor === undefined ? undefined : BigInt(minor)),
      access,
    })),
  };
}

function describeCpu(cpu: OciCpu): Fields<typeof LinuxCPUSchema> {
  return {
    ...optional("shares", cpu.shares),
    ...optional("quota", cpu.quota),
    ...optional("period", cpu.period),
    ...optional("realtimeRuntime", cpu.realtimeRuntime),
    ...optional("realtimePeriod", cpu.realtimePeriod),
    cpus: cpu.cpus ?? "",
    mems: cpu.mems ?? "",
  };
}

function describeMemory(memory: OciMemory): Fields<typeof LinuxMemorySchema> {
  return {
    ...optional("limit", memory.limit),
    ...optional("reservation", memory.reservation),
    ...optional("swap", memory.swap),
    ...optional("kernel", memory.kernel),
    ...optional("kernelTcp", memory.kernelTCP),
    ...optional("swappiness", memory.swappiness),
    ...optional("disableOomKiller", memory.disableOOMKiller),
    ...optional("useHierarchy", memory.useHierarchy),
  };
}

/** A wrapped value of NRI; nothing for undefined. */
function optional<Name extends string, T>(
  name: Name,
  value: T | undefined,
): { readonly [Key in Name]?: { readonly value: T } } {
  return value === undefined ? {} : ({ [name]: { value } } as { [Key in Name]: { value: T } });
}

function describeSeccomp(seccomp: OciSeccomp): Fields<typeof LinuxSeccompSchema> {
  const { architectures = [], flags = [], syscalls = [] } = seccomp;
  return {
    defaultAction: seccomp.defaultAction,
    ...optional("defaultErrno", seccomp.defaultErrnoRet),
    architectures: [...architectures],
    flags: [...flags],
    listenerPath: seccomp.listenerPath ?? "",
    listenerMetadata: seccomp.listenerMetadata ?? "",
    syscalls: syscalls.map(({ names, action, errnoRet, args = [] }) => ({
      names: [...names],
      action,
      ...optional("errnoRet", errnoRet),
      args: args.map(({ index, value, valueTwo = 0, op }) => ({
        index,
        value: BigInt(value),
        valueTwo: BigInt(valueTwo),
        op,
      })),
    })),
  };
}

function describeRdt(rdt: IntelRdt): Fields<typeof LinuxRdtSchema> {
  const { closID, schemata, enableMonitoring } = rdt;
  return {
    ...optional("closId", typeof closID === "string" ? closID : undefined),
    ...optional("enableMonitoring", enableMonitoring === true ? true : undefined),
    ...(Array.isArray(schemata) ? { schemata: { value: schemata.map(String) } } : {}),
  };
}
