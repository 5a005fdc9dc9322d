import { posix } from "node:path";
import { adjustedSpec } from "./adjust/adjust.ts";
import { specAnnotations } from "./annotations.ts";
import { withCdiEdits } from "./cdi/apply.ts";
import { containerDevices, ownedDevices } from "./devices.ts";
import { withHandler } from "./handler/handler.ts";
import type { SpecInput } from "./input.ts";
import { containerMounts } from "./mounts.ts";
import { containerNamespaces, containerUsers } from "./namespaces.ts";
import { containerProcess } from "./process.ts";
import { linuxResources } from "./resources.ts";
import type { OciLinux, OciProcess, OciResources, OciSpec } from "../core/oci/index.ts";
import { checkEgressSpec } from "./security/egress.ts";
import { denyProjectChange } from "./security/project-ids.ts";
import { containerSecurity } from "./security/security.ts";

/**
 * The OCI runtime-spec of a container: the same input always results in the same spec, and nothing
 * outside of the input is read.
 *
 * Errors are those of its parts: `invalid-argument` for a request that makes no sense,
 * `failed-precondition` for one that this pod, node or OCI runtime cannot carry out.
 */
export function containerSpec(input: SpecInput): OciSpec {
  const { config, rootfs } = input;
  if (!posix.isAbsolute(rootfs)) {
    throw new RangeError(`make spec of "${input.containerId}": rootfs "${rootfs}" is not absolute`);
  }
  const process = containerProcess(input);
  const { mounts, rootfsPropagation } = containerMounts(input);
  const readonly = config.linux?.securityContext?.readonlyRootfs === true;
  const spec: OciSpec = {
    // crun 1.21 and runc 1.1 know 1.1. adjustedSpec() raises it for newer fields of plugins.
    ociVersion: "1.1.0",
    root: { path: rootfs, ...(readonly ? { readonly } : {}) },
    process,
    mounts,
    annotations: specAnnotations(input),
    linux: {
      ...linuxPart(input, process),
      ...(rootfsPropagation === undefined ? {} : { rootfsPropagation }),
    },
  };
  const handled = withHandler(spec, input);
  const edited =
    input.cdi === undefined ? handled : withCdiEdits(handled, input.cdi, input.runtime);
  const adjusted = checkEgressSpec(withAdjustments(edited, input), input.sandbox.config);
  return limitedSpec(adjusted, input);
}

function withAdjustments(spec: OciSpec, { adjust, host, runtime }: SpecInput): OciSpec {
  if (adjust === undefined) return spec;
  return adjustedSpec(spec, adjust.adjustment, { ...adjust, host, runtime });
}

/** A container in a virtual machine has no filter here, and does not reach the files of the node. */
function limitedSpec(spec: OciSpec, input: SpecInput): OciSpec {
  const privileged = input.config.linux?.securityContext?.privileged ?? false;
  if (input.isLayerLimited !== true || privileged || !input.runtime.seccomp) return spec;
  const seccomp = denyProjectChange(spec.linux.seccomp, input.host.arch);
  return { ...spec, linux: { ...spec.linux, seccomp } };
}

function linuxPart(input: SpecInput, process: OciProcess): OciLinux {
  const privileged = input.config.linux?.securityContext?.privileged ?? false;
  const { devices, rules } = containerDevices(
    input.devicesOfUser === true && !privileged
      ? ownedDevices(input.config, input.devices)
      : input.devices,
    privileged ? input.hostDevices : undefined,
  );
  return {
    namespaces: containerNamespaces(input),
    ...containerUsers(input),
    cgroupsPath: input.cgroupPath,
    resources: {
      devices: privileged && input.allDevicesAllowed === true ? everyDevice : rules,
      ...limits(input),
    },
    ...(devices.length === 0 ? {} : { devices }),
    ...containerSecurity(input, process.capabilities.bounding),
    ...(input.selinux === undefined ? {} : { mountLabel: input.selinux.mount }),
    ...(input.intelRdt === undefined ? {} : { intelRdt: input.intelRdt }),
  };
}

const everyDevice = [{ allow: true, access: "rwm" }];

function limits(input: SpecInput): OciResources {
  const resources = input.resources ?? input.config.linux?.resources;
  return {
    ...(resources === undefined ? {} : writtenOnce(linuxResources(resources, input.host), input)),
    ...(input.pidsLimit === undefined ? {} : { pids: { limit: input.pidsLimit } }),
    ...(input.blockIo === undefined ? {} : { blockIO: input.blockIo }),
  };
}

/**
 * crun 1.21 sets memory and swap together for the scope's MemorySwapMax, which on v2 is of
 * swap alone, and systemd writes that whenever it writes the scope's files again. As a file of v2's it
 * passes the value on unchanged.
 */
function writtenOnce(resources: OciResources, { cgroupPath, host }: SpecInput): OciResources {
  const { swap, ...memory } = resources.memory ?? {};
  if (swap === undefined || cgroupPath.startsWith("/") || host.cgroupVersion !== 2) {
    return resources;
  }
  const alone = swap < 0n ? "max" : String(swap - (memory.limit ?? 0n));
  return { ...resources, memory, unified: { "memory.swap.max": alone, ...resources.unified } };
}
