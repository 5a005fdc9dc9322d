// Settings of the container's processes that the kernel takes as one value.
import type { LinuxIOPriority, LinuxMemoryPolicy, LinuxScheduler } from "../messages.ts";
import { invalid, max, numbers, oneOf, whole } from "./check.ts";
import type { IOPriorityInput, MemoryPolicyInput, SchedulerInput } from "./inputs.ts";

/** An I/O priority that ioprio_set(2) accepts. */
export function ioPriorityOf(input: IOPriorityInput): LinuxIOPriority {
  const classes = [
    "IOPRIO_CLASS_NONE",
    "IOPRIO_CLASS_RT",
    "IOPRIO_CLASS_BE",
    "IOPRIO_CLASS_IDLE",
  ] as const;
  return {
    class: oneOf("ioPriority: class", input.class, classes),
    priority: Number(whole("ioPriority: priority", input.priority ?? 0, 0, 7)),
  };
}

const policies = [
  "SCHED_NONE",
  "SCHED_OTHER",
  "SCHED_FIFO",
  "SCHED_RR",
  "SCHED_BATCH",
  "SCHED_ISO",
  "SCHED_IDLE",
  "SCHED_DEADLINE",
] as const;

const schedulerFlags = [
  "SCHED_FLAG_RESET_ON_FORK",
  "SCHED_FLAG_RECLAIM",
  "SCHED_FLAG_DL_OVERRUN",
  "SCHED_FLAG_KEEP_POLICY",
  "SCHED_FLAG_KEEP_PARAMS",
  "SCHED_FLAG_UTIL_CLAMP_MIN",
  "SCHED_FLAG_UTIL_CLAMP_MAX",
] as const;

/** Scheduling attributes that sched_setattr(2) accepts together. */
export function schedulerOf(input: SchedulerInput): LinuxScheduler {
  const policy = oneOf("scheduler: policy", input.policy, policies);
  const isRealtime = policy === "SCHED_FIFO" || policy === "SCHED_RR";
  const time = (what: "runtime" | "deadline" | "period"): bigint =>
    whole(`scheduler: ${what}`, input[what] ?? 0, 0, max.uint64);
  const scheduler = {
    policy,
    nice: Number(whole("scheduler: nice", input.nice ?? 0, -20, 19)),
    priority: Number(
      whole("scheduler: priority", input.priority ?? (isRealtime ? 1 : 0), isRealtime ? 1 : 0, 99),
    ),
    flags: (input.flags ?? []).map((flag) => oneOf("scheduler: flags", flag, schedulerFlags)),
    runtime: time("runtime"),
    deadline: time("deadline"),
    period: time("period"),
  };
  if (policy === "SCHED_DEADLINE" && scheduler.runtime === 0n) {
    throw invalid("scheduler: runtime", "a time for SCHED_DEADLINE", scheduler.runtime);
  }
  if (!isRealtime && scheduler.priority !== 0) {
    throw invalid("scheduler: priority", `0 for ${policy}`, scheduler.priority);
  }
  return scheduler;
}

const modes = [
  "MPOL_DEFAULT",
  "MPOL_PREFERRED",
  "MPOL_BIND",
  "MPOL_INTERLEAVE",
  "MPOL_LOCAL",
  "MPOL_PREFERRED_MANY",
  "MPOL_WEIGHTED_INTERLEAVE",
] as const;

const memoryFlags = [
  "MPOL_F_STATIC_NODES",
  "MPOL_F_RELATIVE_NODES",
  "MPOL_F_NUMA_BALANCING",
] as const;

/** A memory policy that set_mempolicy(2) accepts. */
export function memoryPolicyOf(input: MemoryPolicyInput): LinuxMemoryPolicy {
  const mode = oneOf("memoryPolicy: mode", input.mode, modes);
  const nodes = input.nodes ?? "";
  const hasNone = mode === "MPOL_DEFAULT" || mode === "MPOL_LOCAL";
  if (hasNone && nodes !== "") throw invalid("memoryPolicy: nodes", `none for ${mode}`, nodes);
  return {
    mode,
    nodes:
      nodes === "" && (hasNone || mode === "MPOL_PREFERRED")
        ? ""
        : numbers("memoryPolicy: nodes", nodes),
    flags: (input.flags ?? []).map((flag) => oneOf("memoryPolicy: flags", flag, memoryFlags)),
  };
}
