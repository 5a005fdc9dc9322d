import {
  IOPrioClass,
  type LinuxContainerAdjustment,
  type LinuxDevice,
  type LinuxIOPriority,
  type LinuxMemoryPolicy,
  type LinuxNamespace,
  type LinuxRdt,
  type LinuxScheduler,
  LinuxSchedulerFlag,
  LinuxSchedulerPolicy,
  MpolFlag,
  MpolMode,
} from "../../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { quote } from "../../../../base/quote.ts";
import {
  checkCount,
  checkNumbers,
  checkPath,
  checkText,
  type Refuse,
  splitRemoval,
} from "../answer.ts";
import { checkDeviceNumbers, checkResources } from "./resources.ts";
import { checkSeccomp } from "./seccomp.ts";

/** The Linux part of checkAdjustment(). */
export function checkLinux(linux: LinuxContainerAdjustment, refuse: Refuse): void {
  checkCount("linux.devices", linux.devices.length, refuse);
  for (const device of linux.devices) checkDevice(device, refuse);
  if (linux.resources !== undefined) checkResources(linux.resources, refuse);
  checkText("linux.cgroups_path", linux.cgroupsPath, 4096, refuse);
  checkOomScore(linux, refuse);
  if (linux.ioPriority !== undefined) checkIoPriority(linux.ioPriority, refuse);
  if (linux.seccompPolicy !== undefined) checkSeccomp(linux.seccompPolicy, refuse);
  checkCount("linux.namespaces", linux.namespaces.length, refuse);
  for (const namespace of linux.namespaces) checkNamespace(namespace, refuse);
  checkSysctl(linux, refuse);
  checkNetDevices(linux, refuse);
  if (linux.scheduler !== undefined) checkScheduler(linux.scheduler, refuse);
  if (linux.rdt !== undefined) checkRdt(linux.rdt, refuse);
  if (linux.memoryPolicy !== undefined) checkMemoryPolicy(linux.memoryPolicy, refuse);
}

function checkDevice(device: LinuxDevice, refuse: Refuse): void {
  const { key, removed } = splitRemoval(device.path);
  checkPath("linux.devices.path", key, refuse);
  if (removed) return;
  const field = `linux.devices[${quote(key)}]`;
  if (!["b", "c", "u", "p"].includes(device.type)) {
    refuse(`${field}.type`, `must be b, c, u or p, got ${quote(device.type)}`);
  }
  if (device.major < 0n || device.minor < 0n) refuse(field, "its numbers cannot be negative");
  checkDeviceNumbers(field, [device.major, device.minor], refuse);
}

function checkOomScore({ oomScoreAdj }: LinuxContainerAdjustment, refuse: Refuse): void {
  const score = oomScoreAdj?.value ?? 0n;
  if (score < -1000n || score > 1000n) {
    refuse("linux.oom_score_adj", `must be -1000 to 1000, got ${score}`);
  }
}

function checkIoPriority({ class: kind, priority }: LinuxIOPriority, refuse: Refuse): void {
  checkEnum("linux.io_priority.class", IOPrioClass, kind, refuse);
  if (priority < 0 || priority > 7) {
    refuse("linux.io_priority.priority", `must be 0 to 7 (ioprio_set(2)), got ${priority}`);
  }
}

function checkEnum(
  field: string,
  values: Readonly<Record<string, number>>,
  value: number,
  refuse: Refuse,
): void {
  if (!Object.values(values).includes(value)) refuse(field, `${value} is unknown`);
}

// config-linux.md, "Namespaces"; no OCI runtime that davit supports makes time namespaces for containers.
const namespaceTypes = ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"];

function checkNamespace({ type, path }: LinuxNamespace, refuse: Refuse): void {
  const { key, removed } = splitRemoval(type);
  if (!namespaceTypes.includes(key)) {
    refuse(
      "linux.namespaces.type",
      `must be one of ${namespaceTypes.join(", ")}, got ${quote(key)}`,
    );
  }
  if (!removed && path !== "") checkPath(`linux.namespaces[${quote(key)}].path`, path, refuse);
  // Its root would be mounted over the node's.
  if (key === "mount" && (removed || path !== "")) {
    refuse('linux.namespaces["mount"]', "a container always has its own");
  }
}

function checkSysctl({ sysctl }: LinuxContainerAdjustment, refuse: Refuse): void {
  checkCount("linux.sysctl", Object.keys(sysctl).length, refuse);
  for (const [name, value] of Object.entries(sysctl)) {
    const { key } = splitRemoval(name);
    const isName = /^[a-zA-Z0-9_-]+([./][a-zA-Z0-9_-]+)+$/.test(key) && key.length <= 253;
    if (!isName)
      refuse("linux.sysctl", `must be a name such as net.core.somaxconn, got ${quote(key)}`);
    checkText(`linux.sysctl[${quote(key)}]`, value, 4096, refuse);
  }
}

// IFNAMSIZ of linux/if.h, with the NUL.
const longestInterface = 15;

function checkNetDevices({ netDevices }: LinuxContainerAdjustment, refuse: Refuse): void {
  checkCount("linux.net_devices", Object.keys(netDevices).length, refuse);
  for (const [name, device] of Object.entries(netDevices)) {
    const { key, removed } = splitRemoval(name);
    checkInterface("linux.net_devices", key, refuse);
    const inside = device.name;
    if (!removed && inside !== "")
      checkInterface(`linux.net_devices[${quote(key)}]`, inside, refuse);
  }
}

/** What dev_valid_name() of net/core/dev.c accepts. */
function checkInterface(field: string, name: string, refuse: Refuse): void {
  const isName =
    /^[^\s/:\0]+$/.test(name) &&
    ![".", ".."].includes(name) &&
    Buffer.byteLength(name) <= longestInterface;
  if (!isName) {
    refuse(
      field,
      `a name of an interface has 1 to ${longestInterface} characters, got ${quote(name)}`,
    );
  }
}

const { SCHED_FIFO, SCHED_RR, SCHED_DEADLINE, SCHED_NONE, SCHED_ISO } = LinuxSchedulerPolicy;

/** sched(7): what belongs to which policy. */
function checkScheduler(scheduler: LinuxScheduler, refuse: Refuse): void {
  const { policy, nice, priority, flags } = scheduler;
  const field = "linux.scheduler";
  checkEnum(`${field}.policy`, LinuxSchedulerPolicy, policy, refuse);
  checkCount(`${field}.flags`, flags.length, refuse);
  for (const flag of flags) checkEnum(`${field}.flags`, LinuxSchedulerFlag, flag, refuse);
  if (policy === SCHED_ISO) refuse(`${field}.policy`, "Linux does not have SCHED_ISO");
  if (policy === SCHED_NONE) return;
  if (nice < -20 || nice > 19) refuse(`${field}.nice`, `must be -20 to 19, got ${nice}`);
  const isRealtime = policy === SCHED_FIFO || policy === SCHED_RR;
  const [least, most] = isRealtime ? [1, 99] : [0, 0];
  if (priority < least || priority > most) {
    refuse(`${field}.priority`, `must be ${least} to ${most} with this policy, got ${priority}`);
  }
  checkTimes(scheduler, refuse);
}

function checkTimes({ policy, runtime, deadline, period }: LinuxScheduler, refuse: Refuse): void {
  const field = "linux.scheduler";
  if (policy === SCHED_DEADLINE) {
    const isOrdered = runtime > 0n && runtime <= deadline && (period === 0n || deadline <= period);
    if (isOrdered) return;
    refuse(
      field,
      `must have runtime <= deadline <= period, got ${runtime}, ${deadline}, ${period}`,
    );
  }
  if (runtime + deadline + period > 0n) {
    refuse(field, "runtime, deadline and period are for SCHED_DEADLINE");
  }
}

function checkRdt({ closId, schemata }: LinuxRdt, refuse: Refuse): void {
  const name = closId?.value;
  if (name !== undefined) {
    checkText("linux.rdt.clos_id", name, 255, refuse);
    // config-linux.md, intelRdt: a directory of resctrl; "/" is its root.
    if ([".", ".."].includes(name) || (name !== "/" && /[/\n]/.test(name))) {
      refuse("linux.rdt.clos_id", `must be the name of a directory, got ${quote(name)}`);
    }
  }
  const lines = schemata?.value ?? [];
  checkCount("linux.rdt.schemata", lines.length, refuse);
  for (const line of lines) {
    checkText("linux.rdt.schemata", line, 4096, refuse);
    if (line.includes("\n")) refuse("linux.rdt.schemata", `a line break in ${quote(line)}`);
  }
}

function checkMemoryPolicy({ mode, nodes, flags }: LinuxMemoryPolicy, refuse: Refuse): void {
  checkEnum("linux.memory_policy.mode", MpolMode, mode, refuse);
  checkCount("linux.memory_policy.flags", flags.length, refuse);
  for (const flag of flags) checkEnum("linux.memory_policy.flags", MpolFlag, flag, refuse);
  checkNumbers("linux.memory_policy.nodes", nodes, refuse);
}
