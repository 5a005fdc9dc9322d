import { realpath } from "node:fs/promises";
import { create } from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import {
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  type OptionalString,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  boundSources,
  checkPropagation,
  type PluginAdjustments,
  refuseCdi,
} from "../../oci-spec/index.ts";
import { MountPropagation } from "../../gen/runtime/v1/api_pb.ts";
import type { ResourceClasses } from "../../core/container/index.ts";
import { decodeMessage } from "../../wire/protobuf.ts";
import type { CdiFiles } from "./cdi-files.ts";
import type { ClientPaths } from "./client-paths.ts";
import { mountHolding } from "./mount-sources.ts";

function parseAdjustment(bytes: Uint8Array): ContainerAdjustment {
  return decodeMessage(ContainerAdjustmentSchema, bytes);
}

/**
 * The adjustments of a container's record, with what they need of the host: the edits of their CDI devices and the
 * settings of classes. `failed-precondition` for a mount that is to propagate and whose source is on a mount that does not.
 */
export async function pluginAdjustments(
  bytes: Uint8Array,
  deps: {
    readonly cdi: CdiFiles | undefined;
    readonly paths: ClientPaths;
    readonly classes: ResourceClasses;
  },
): Promise<PluginAdjustments> {
  const adjustment = parseAdjustment(bytes);
  const names = adjustment.CDIDevices.map(({ name }) => name);
  if (deps.cdi === undefined) refuseCdi(names);
  for (const mount of boundSources(adjustment.mounts)) {
    if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
      await checkSource(mount, deps.paths);
    }
  }
  const { blockioClass, rdtClass } = adjustment.linux?.resources ?? {};
  return {
    adjustment,
    cdi: names.length === 0 ? undefined : await deps.cdi?.edits(names),
    ...(isNamed(blockioClass) ? { blockIo: await deps.classes.blockIoOf(blockioClass.value) } : {}),
    ...(isNamed(rdtClass) ? { intelRdt: await deps.classes.rdtOf(rdtClass.value, "plugin") } : {}),
  };
}

/** An empty name means no class. */
function isNamed(name: OptionalString | undefined): name is OptionalString {
  return name !== undefined && name.value !== "";
}

async function checkSource(
  mount: ReturnType<typeof boundSources>[number],
  paths: ClientPaths,
): Promise<void> {
  const { hostPath } = mount;
  const doing = `prepare mount of "${hostPath}" that an NRI plugin adds`;
  await paths.withStallGuard(hostPath, doing, async () => {
    const source = await realpath(hostPath).catch((cause: unknown) => {
      throw new RuntimeError("failed-precondition", `${doing}: ${messageOf(cause)}`, { cause });
    });
    const { mountPoint, propagation } = await mountHolding(source);
    try {
      checkPropagation(mount, mountPoint, propagation);
    } catch (cause) {
      // It is not the client's mistake.
      throw new RuntimeError("failed-precondition", `${doing}: ${messageOf(cause)}`, { cause });
    }
  });
}

/** The part of a container's adjustments that commands run in it have, too (exec). */
export function processAdjustments(bytes: Uint8Array): PluginAdjustments {
  const { env, rlimits, linux } = parseAdjustment(bytes);
  const adjustment: ContainerAdjustment = create(ContainerAdjustmentSchema, {
    env,
    rlimits,
    linux: {
      ...(linux?.oomScoreAdj && { oomScoreAdj: linux.oomScoreAdj }),
      ...(linux?.scheduler && { scheduler: linux.scheduler }),
      ...(linux?.ioPriority && { ioPriority: linux.ioPriority }),
    },
  });
  return { adjustment };
}
