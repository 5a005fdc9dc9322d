import { create } from "@bufbuild/protobuf";
import {
  Field,
  LinuxDeviceSchema,
  type LinuxContainer,
  type LinuxContainerAdjustment,
  LinuxNetDeviceSchema,
  type LinuxRdt,
  LinuxRdtSchema,
  LinuxResourcesSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { type AnswerContext, claim, clear, splitRemoval } from "./answer.ts";
import { mergedList, mergedTable, shownList } from "./entries.ts";
import { mergeResources } from "./resources.ts";

interface LinuxTarget {
  readonly collected: LinuxContainerAdjustment;
  readonly container: LinuxContainer;
}

type MergeLinux = (
  context: AnswerContext,
  answer: LinuxContainerAdjustment,
  target: LinuxTarget,
) => void;

/** The Linux part of mergeAdjustment(). */
export const mergeLinux: MergeLinux = (context, answer, target) => {
  const { collected, container } = target;
  mergeDevices(context, answer, target);
  if (answer.resources !== undefined) {
    mergeResources(context, answer.resources, [
      (collected.resources ??= create(LinuxResourcesSchema)),
      (container.resources ??= create(LinuxResourcesSchema)),
    ]);
  }
  mergeSingles(context, answer, target);
  mergeNamespaces(context, answer, target);
  mergeSysctl(context, answer, target);
  mergeNetDevices(context, answer, target);
  mergeRdt(context, answer, target);
  // LinuxContainer has no field for it.
  if (answer.memoryPolicy !== undefined) {
    claim(context, { field: Field.MemoryPolicy });
    collected.memoryPolicy = answer.memoryPolicy;
  }
};

const mergeDevices: MergeLinux = (context, { devices }, { collected, container }) => {
  const list = {
    field: Field.Devices,
    collected: collected.devices,
    answer: devices,
    nameOf: ({ path }: { readonly path: string }) => path,
    removal: (path: string) => create(LinuxDeviceSchema, { path }),
  };
  collected.devices = mergedList(context, list);
  container.devices = shownList(container.devices, list);
};

const singles = [
  ["cgroupsPath", Field.CgroupsPath],
  ["oomScoreAdj", Field.OomScoreAdj],
  ["ioPriority", Field.IoPriority],
  ["seccompPolicy", Field.SeccompPolicy],
  ["scheduler", Field.LinuxSched],
] as const satisfies readonly (readonly [
  keyof LinuxContainer & keyof LinuxContainerAdjustment,
  Field,
])[];

/** Fields with one value, which one plugin may set. */
const mergeSingles: MergeLinux = (context, answer, { collected, container }) => {
  for (const [key, field] of singles) {
    if (answer[key] === undefined || answer[key] === "") continue;
    claim(context, { field });
    copyField(answer, collected, key);
    copyField(answer, container, key);
  }
};

function copyField<Key extends (typeof singles)[number][0]>(
  from: LinuxContainerAdjustment,
  to: Pick<LinuxContainerAdjustment, Key>,
  key: Key,
): void {
  to[key] = from[key];
}

/** Removing a namespace claims it, as setting does: two plugins cannot change the same. */
const mergeNamespaces: MergeLinux = (context, { namespaces }, { collected, container }) => {
  const shown = new Map(container.namespaces.map((namespace) => [namespace.type, namespace]));
  for (const namespace of namespaces) {
    const { key, removed } = splitRemoval(namespace.type);
    claim(context, { field: Field.Namespace, key });
    if (removed) shown.delete(key);
    else shown.set(key, namespace);
  }
  collected.namespaces = [...collected.namespaces, ...namespaces];
  container.namespaces = [...shown.values()];
};

const mergeSysctl: MergeLinux = (context, { sysctl: answer }, { collected, container }) => {
  const merged = mergedTable(context, {
    field: Field.Sysctl,
    collected: collected.sysctl,
    shown: container.sysctl,
    answer,
    removal: "",
  });
  collected.sysctl = merged.collected;
  container.sysctl = merged.shown;
};

const mergeNetDevices: MergeLinux = (context, { netDevices: answer }, { collected, container }) => {
  const merged = mergedTable(context, {
    field: Field.LinuxNetDevices,
    collected: collected.netDevices,
    shown: container.netDevices,
    answer,
    removal: create(LinuxNetDeviceSchema),
  });
  collected.netDevices = merged.collected;
  container.netDevices = merged.shown;
};

const ofRdt = [
  ["closId", Field.RdtClosID],
  ["schemata", Field.RdtSchemata],
  ["enableMonitoring", Field.RdtEnableMonitoring],
] as const satisfies readonly (readonly [keyof LinuxRdt, Field])[];

/** `remove` takes away what the container has and what plugins set before; then this plugin may set it. */
const mergeRdt: MergeLinux = (context, { rdt }, { collected, container }) => {
  if (rdt === undefined) return;
  if (!rdt.remove && ofRdt.every(([key]) => rdt[key] === undefined)) return;
  const merged = rdt.remove
    ? create(LinuxRdtSchema, { remove: true })
    : (collected.rdt ?? create(LinuxRdtSchema));
  const shown = rdt.remove ? create(LinuxRdtSchema) : (container.rdt ?? create(LinuxRdtSchema));
  if (rdt.remove) for (const [, field] of ofRdt) clear(context, { field });
  for (const [key, field] of ofRdt) {
    if (rdt[key] === undefined) continue;
    claim(context, { field });
    for (const target of [merged, shown]) Object.assign(target, { [key]: rdt[key] });
  }
  collected.rdt = merged;
  container.rdt = shown;
};
