import type { OciHook, OciHooks, OciSpec } from "../../core/oci/index.ts";
import { hookStages } from "../../core/oci/index.ts";
import type {
  ContainerAdjustment,
  Hook,
  Hooks,
  LinuxContainerAdjustment,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { withCdiEdits } from "../cdi/apply.ts";
import { withVersion } from "../spec-version.ts";
import { adjustedDevices } from "./devices.ts";
import { type AdjustFacts, changedTable } from "./facts.ts";
import { adjustedMounts } from "./mounts.ts";
import { adjustedNamespaces } from "./namespaces.ts";
import { adjustedNetDevices } from "./net-devices.ts";
import { adjustedMemoryPolicy, adjustedProcess } from "./process.ts";
import { adjustedRdt } from "./rdt.ts";
import { adjustedResources } from "./resources.ts";
import { adjustedSeccomp } from "./seccomp.ts";

/**
 * A spec with the adjustments of the node's plugins (NRI), in the order in which NRI applies them: what CDI devices add
 * comes before devices, mounts and limits of plugins. docs/nri-fields.md has the rules for each field.
 *
 * The adjustments were checked when the plugins answered. `failed-precondition` naming the field for what this
 * node, the pod or the OCI runtime cannot do.
 */
export function adjustedSpec(
  spec: OciSpec,
  adjustment: ContainerAdjustment,
  facts: AdjustFacts,
): OciSpec {
  const { annotations, hooks, linux } = adjustment;
  const first: OciSpec = {
    ...spec,
    annotations: changedTable(spec.annotations, annotations),
    process: adjustedProcess(spec.process, adjustment, facts),
    ...(hooks === undefined ? {} : { hooks: withHooks(spec.hooks, hooks) }),
  };
  const second = facts.cdi === undefined ? first : withCdiEdits(first, facts.cdi, facts.runtime);
  const third = linux === undefined ? second : adjustedLinux(second, linux, facts);
  return withVersion(adjustedMounts(third, adjustment.mounts, facts));
}

function withHooks(before: OciHooks | undefined, hooks: Hooks): OciHooks {
  const all: Partial<Record<keyof OciHooks, readonly OciHook[]>> = { ...before };
  for (const stage of hookStages) {
    const added = hooks[stage].map(hookOf);
    if (added.length > 0) all[stage] = [...(all[stage] ?? []), ...added];
  }
  return all;
}

function hookOf({ path, args, env, timeout }: Hook): OciHook {
  return {
    path,
    ...(args.length === 0 ? {} : { args }),
    ...(env.length === 0 ? {} : { env }),
    ...(timeout === undefined ? {} : { timeout: Number(timeout.value) }),
  };
}

function adjustedLinux(
  spec: OciSpec,
  adjustment: LinuxContainerAdjustment,
  facts: AdjustFacts,
): OciSpec {
  const { cgroupsPath, sysctl } = adjustment;
  const isSysctlAdjusted = Object.keys(sysctl).length > 0;
  return [
    (linux: OciSpec["linux"]) => (cgroupsPath === "" ? linux : { ...linux, cgroupsPath }),
    (linux: OciSpec["linux"]) => adjustedDevices(linux, adjustment),
    (linux: OciSpec["linux"]) => adjustedSeccomp(linux, adjustment),
    (linux: OciSpec["linux"]) => adjustedNamespaces(linux, adjustment),
    (linux: OciSpec["linux"]) =>
      isSysctlAdjusted ? { ...linux, sysctl: changedTable(linux.sysctl, sysctl) } : linux,
    (linux: OciSpec["linux"]) => adjustedNetDevices(linux, adjustment, facts),
    (linux: OciSpec["linux"]) => adjustedMemoryPolicy(linux, adjustment, facts),
    (linux: OciSpec["linux"]) => adjustedResources(linux, adjustment, facts),
    (linux: OciSpec["linux"]) => adjustedRdt(linux, adjustment, facts),
  ].reduce((before, adjust) => ({ ...before, linux: adjust(before.linux) }), spec);
}
