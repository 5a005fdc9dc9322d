import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { hookStages } from "../../../core/oci/index.ts";
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  Field,
  HooksSchema,
  KeyValueSchema,
  LinuxContainerSchema,
  LinuxContainerAdjustmentSchema,
  LinuxResourcesSchema,
  LinuxCPUSchema,
  LinuxMemorySchema,
  MountSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AnswerContext, claim, clear, splitRemoval } from "./answer.ts";
import { mergedList, mergedTable, shownList } from "./entries.ts";
import { mergeLinux } from "./linux.ts";

/** What the answers of all plugins are merged into. */
export interface MergeTarget {
  /** The adjustments until now. */
  readonly collected: ContainerAdjustment;
  /** The container as the next plugin is shown it. */
  readonly container: Container;
}

/** Adds a checked answer to the adjustments, and changes the container for the next plugin. */
export function mergeAdjustment(
  context: AnswerContext,
  answer: ContainerAdjustment,
  target: MergeTarget,
): void {
  mergeAnnotations(context, answer, target);
  mergeMounts(context, answer, target);
  mergeEnv(context, answer, target);
  mergeArgs(context, answer, target);
  mergeHooks(context, answer, target);
  mergeRlimits(context, answer, target);
  mergeCdiDevices(context, answer, target);
  if (answer.linux === undefined) return;
  mergeLinux(context, answer.linux, {
    collected: (target.collected.linux ??= create(LinuxContainerAdjustmentSchema)),
    container: (target.container.linux ??= create(LinuxContainerSchema)),
  });
}

type Merge = (context: AnswerContext, answer: ContainerAdjustment, target: MergeTarget) => void;

const mergeAnnotations: Merge = (context, answer, { collected, container }) => {
  const merged = mergedTable(context, {
    field: Field.Annotations,
    collected: collected.annotations,
    shown: container.annotations,
    answer: answer.annotations,
    removal: "",
  });
  collected.annotations = merged.collected;
  container.annotations = merged.shown;
};

const mergeMounts: Merge = (context, { mounts }, { collected, container }) => {
  const list = {
    field: Field.Mounts,
    collected: collected.mounts,
    answer: mounts,
    nameOf: ({ destination }: { readonly destination: string }) => destination,
    removal: (destination: string) => create(MountSchema, { destination }),
  };
  collected.mounts = mergedList(context, list);
  container.mounts = shownList(container.mounts, list);
};

const mergeEnv: Merge = (context, { env }, { collected, container }) => {
  const names = new Set(env.map(({ key }) => splitRemoval(key).key));
  collected.env = mergedList(context, {
    field: Field.Env,
    collected: collected.env,
    answer: env,
    nameOf: ({ key }) => key,
    removal: (key) => create(KeyValueSchema, { key }),
  });
  const added = env.filter(({ key }) => !splitRemoval(key).removed);
  container.env = [
    ...container.env.filter((line) => !names.has(line.split("=", 1)[0] ?? "")),
    ...added.map(({ key, value }) => `${key}=${value}`),
  ];
};

/** Arguments that begin with an empty one replace those of another plugin. */
const mergeArgs: Merge = (context, { args }, { collected, container }) => {
  if (args.length === 0) return;
  const replaces = args[0] === "";
  if (replaces) clear(context, { field: Field.Args });
  claim(context, { field: Field.Args });
  collected.args = replaces ? args.slice(1) : args;
  container.args = collected.args;
};

/** Hooks of several plugins are added up. */
const mergeHooks: Merge = (context, { hooks }, { collected, container }) => {
  if (hooks === undefined || hookStages.every((stage) => hooks[stage].length === 0)) return;
  context.owners.share(context.container, Field.OciHooks, context.plugin);
  for (const target of [collected, container]) {
    const all = (target.hooks ??= create(HooksSchema));
    for (const stage of hookStages) all[stage] = [...all[stage], ...hooks[stage]];
  }
};

const mergeRlimits: Merge = (context, { rlimits }, { collected, container }) => {
  for (const { type: key } of rlimits) claim(context, { field: Field.Rlimits, key });
  const types = new Set(rlimits.map(({ type }) => type));
  collected.rlimits = [...collected.rlimits, ...rlimits];
  container.rlimits = [...container.rlimits.filter(({ type }) => !types.has(type)), ...rlimits];
};

/** The names alone: what the devices add is known when the container is made. Plugins are not shown them. */
const mergeCdiDevices: Merge = (context, { CDIDevices }, { collected }) => {
  for (const { name: key } of CDIDevices) claim(context, { field: Field.CdiDevices, key });
  collected.CDIDevices = [...collected.CDIDevices, ...CDIDevices];
};

/** An adjustment without messages that say nothing; undefined if nothing is left. */
export function withoutEmpty(adjustment: ContainerAdjustment): ContainerAdjustment | undefined {
  const { linux } = adjustment;
  const resources = linux?.resources;
  if (resources !== undefined) {
    if (isEmpty(LinuxMemorySchema, resources.memory)) delete resources.memory;
    if (isEmpty(LinuxCPUSchema, resources.cpu)) delete resources.cpu;
  }
  if (linux !== undefined && isEmpty(LinuxResourcesSchema, resources)) delete linux.resources;
  if (isEmpty(LinuxContainerAdjustmentSchema, linux)) delete adjustment.linux;
  return isEmpty(ContainerAdjustmentSchema, adjustment) ? undefined : adjustment;
}

/** True where no field of a message is set. */
function isEmpty<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc> | undefined,
): boolean {
  return message === undefined || toBinary(schema, message).length === 0;
}
