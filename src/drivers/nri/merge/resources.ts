import { create } from "@bufbuild/protobuf";
import {
  Field,
  type LinuxCPU,
  LinuxCPUSchema,
  type LinuxMemory,
  LinuxMemorySchema,
  type LinuxResources,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AnswerContext, claim } from "./answer.ts";
import type { Claim } from "./owners.ts";

const ofMemory = [
  ["limit", Field.MemLimit],
  ["reservation", Field.MemReservation],
  ["swap", Field.MemSwapLimit],
  ["kernel", Field.MemKernelLimit],
  ["kernelTcp", Field.MemTCPLimit],
  ["swappiness", Field.MemSwappiness],
  ["disableOomKiller", Field.MemDisableOomKiller],
  ["useHierarchy", Field.MemUseHierarchy],
] as const satisfies readonly (readonly [keyof LinuxMemory, Field])[];

const ofCpu = [
  ["shares", Field.CPUShares],
  ["quota", Field.CPUQuota],
  ["period", Field.CPUPeriod],
  ["realtimeRuntime", Field.CPURealtimeRuntime],
  ["realtimePeriod", Field.CPURealtimePeriod],
  ["cpus", Field.CPUSetCPUs],
  ["mems", Field.CPUSetMems],
] as const satisfies readonly (readonly [keyof LinuxCPU, Field])[];

const ofResources = [
  ["blockioClass", Field.BlockioClass],
  ["rdtClass", Field.RdtClass],
  ["pids", Field.PidsLimit],
] as const satisfies readonly (readonly [keyof LinuxResources, Field])[];

/**
 * Sets what a plugin answers in each of the targets, field by field; what the answer leaves out stays. The plugin becomes
 * the owner of each, and if it cannot, nothing is set. Rules for devices have no owner: they are added.
 */
export function mergeResources(
  context: AnswerContext,
  answer: LinuxResources,
  targets: readonly LinuxResources[],
): void {
  for (const field of fieldsOf(answer)) claim(context, field);
  for (const target of targets) setResources(target, answer);
}

function fieldsOf(answer: LinuxResources): readonly Claim[] {
  return [
    ...setFields(answer.memory, ofMemory),
    ...setFields(answer.cpu, ofCpu),
    ...setFields(answer, ofResources),
    ...answer.hugepageLimits.map(({ pageSize: key }) => ({ field: Field.HugepageLimits, key })),
    ...Object.keys(answer.unified).map((key) => ({ field: Field.CgroupsUnified, key })),
  ];
}

/** The fields of a message that are set. An empty text means that a field is not. */
function setFields<Message extends object>(
  message: Message | undefined,
  fields: readonly (readonly [keyof Message, Field])[],
): readonly Claim[] {
  if (message === undefined) return [];
  return fields.filter(([key]) => isSet(message[key])).map(([, field]) => ({ field }));
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== "";
}

function setResources(target: LinuxResources, answer: LinuxResources): void {
  if (answer.memory !== undefined) {
    copyFields(answer.memory, (target.memory ??= create(LinuxMemorySchema)), ofMemory);
  }
  if (answer.cpu !== undefined) {
    copyFields(answer.cpu, (target.cpu ??= create(LinuxCPUSchema)), ofCpu);
  }
  copyFields(answer, target, ofResources);
  const sizes = new Set(answer.hugepageLimits.map(({ pageSize }) => pageSize));
  target.hugepageLimits = [
    ...target.hugepageLimits.filter(({ pageSize }) => !sizes.has(pageSize)),
    ...answer.hugepageLimits,
  ];
  target.unified = { ...target.unified, ...answer.unified };
  target.devices = [...target.devices, ...answer.devices];
}

function copyFields<Message>(
  from: Message,
  to: Message,
  fields: readonly (readonly [keyof Message, Field])[],
): void {
  for (const [key] of fields) if (isSet(from[key])) to[key] = from[key];
}
