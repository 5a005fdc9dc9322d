import type {
  OciIoPriority,
  OciLinux,
  OciMemoryPolicy,
  OciProcess,
  OciRlimit,
  OciScheduler,
} from "../../core/oci/index.ts";
import type {
  ContainerAdjustment,
  KeyValue,
  LinuxContainerAdjustment,
  LinuxIOPriority,
  LinuxScheduler,
  POSIXRlimit,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { ioClasses, policies, policyFlags, memoryModes, memoryFlags } from "./names.ts";
import { clampedOomScoreAdj } from "../process.ts";
import { type AdjustFacts, needsRuntime, splitRemoval } from "./facts.ts";

/** The process with its command, environment, limits and priorities adjusted. */
export function adjustedProcess(
  process: OciProcess,
  adjustment: ContainerAdjustment,
  facts: AdjustFacts,
): OciProcess {
  const { env, args, rlimits, linux } = adjustment;
  const score = linux?.oomScoreAdj?.value;
  const floor = facts.host.oomScoreAdjFloor;
  const adjusted: OciProcess = {
    ...process,
    env: withEnv(process.env, env),
    ...(args.length === 0 ? {} : { args }),
    ...(rlimits.length === 0 ? {} : { rlimits: withRlimits(process.rlimits ?? [], rlimits) }),
    ...(score === undefined ? {} : { oomScoreAdj: clampedOomScoreAdj(score, floor) }),
  };
  return withPriorities(adjusted, linux, facts);
}

/** A variable that is there keeps its place. */
function withEnv(before: readonly string[], env: readonly KeyValue[]): readonly string[] {
  const lines = new Map(before.map((line) => [line.split("=", 1)[0] ?? "", line]));
  for (const { key: name } of env) {
    const { key, removed } = splitRemoval(name);
    if (removed) lines.delete(key);
  }
  for (const { key, value } of env) {
    if (!splitRemoval(key).removed) lines.set(key, `${key}=${value}`);
  }
  return [...lines.values()];
}

function withRlimits(
  before: readonly OciRlimit[],
  rlimits: readonly POSIXRlimit[],
): readonly OciRlimit[] {
  const limits = new Map(before.map((limit) => [limit.type, limit]));
  for (const { type, hard, soft } of rlimits) limits.set(type, { type, hard, soft });
  return [...limits.values()];
}

/** SCHED_NONE and IOPRIO_CLASS_NONE take away what the handler's base has. */
function withPriorities(
  process: OciProcess,
  linux: LinuxContainerAdjustment | undefined,
  facts: AdjustFacts,
): OciProcess {
  const { scheduler: schedulerBefore, ioPriority: ioBefore, ...rest } = process;
  const scheduler = linux?.scheduler ? schedulerOf(linux.scheduler) : schedulerBefore;
  const ioPriority = linux?.ioPriority ? ioPriorityOf(linux.ioPriority) : ioBefore;
  if (scheduler !== undefined && linux?.scheduler) needsRuntime(facts, "process.scheduler");
  if (ioPriority !== undefined && linux?.ioPriority) needsRuntime(facts, "process.ioPriority");
  return {
    ...rest,
    ...(scheduler === undefined ? {} : { scheduler }),
    ...(ioPriority === undefined ? {} : { ioPriority }),
  };
}

function schedulerOf(scheduler: LinuxScheduler): OciScheduler | undefined {
  const { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
  if (policy === 0) return undefined;
  return {
    policy: nameOf(policies, policy),
    ...(nice === 0 ? {} : { nice }),
    ...(priority === 0 ? {} : { priority }),
    ...(flags.length === 0 ? {} : { flags: flags.map((flag) => nameOf(policyFlags, flag)) }),
    ...(runtime === 0n ? {} : { runtime }),
    ...(deadline === 0n ? {} : { deadline }),
    ...(period === 0n ? {} : { period }),
  };
}

function ioPriorityOf(ioPriority: LinuxIOPriority): OciIoPriority | undefined {
  const { class: kind, priority } = ioPriority;
  if (kind === 0) return undefined;
  return { class: nameOf(ioClasses, kind), priority };
}

/** The policy for memory of NUMA nodes. */
export function adjustedMemoryPolicy(
  linux: OciLinux,
  { memoryPolicy }: LinuxContainerAdjustment,
  facts: AdjustFacts,
): OciLinux {
  if (memoryPolicy === undefined) return linux;
  needsRuntime(facts, "linux.memoryPolicy");
  const { mode, nodes, flags } = memoryPolicy;
  const policy: OciMemoryPolicy = {
    mode: nameOf(memoryModes, mode),
    nodes,
    ...(flags.length === 0 ? {} : { flags: flags.map((flag) => nameOf(memoryFlags, flag)) }),
  };
  return { ...linux, memoryPolicy: policy };
}

/** The name of a value; the answer was checked. */
function nameOf(names: readonly string[], value: number): string {
  return names[value] ?? String(value);
}
