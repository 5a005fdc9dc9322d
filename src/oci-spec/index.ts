// OCI runtime-specs, generated from a CRI request, the image's config and the pod: pure functions that
// import base, gen and core and do no I/O. Start with generate.ts; input.ts has what the
// caller must find out first.
export { askedClass } from "./classes/asked-class.ts";
export {
  type BlockIoClasses,
  type BlockIoDevice,
  type BlockIoItem,
  blockIoLimits,
  parseBlockIoClasses,
} from "./classes/blockio.ts";
export { parseRdtConfig, type RdtConfig, rootClass } from "./classes/rdt-config.ts";
export { type BandwidthInfo, type RdtInfo, rdtSchemata } from "./classes/rdt-schemata.ts";
export type { CacheInfo } from "./classes/rdt-share.ts";
export { asksForByteValues, envProgram, hasByteValues } from "./byte-env.ts";
export { boundSources } from "./adjust/mounts.ts";
export { updateWithOthers } from "./adjust/update.ts";
export { allowedAnnotations, matchesPattern } from "./allow-list.ts";
export type { BaseSpec } from "./handler/base-spec.ts";
export { parseBaseSpec } from "./handler/base-spec.ts";
export type { CdiDeviceNode, CdiEdits, CdiFile, ReadCdiFile } from "./cdi/cdi.ts";
export { cdiEdits, refuseCdi, requestedCdiDevices } from "./cdi/cdi.ts";
export { parseCdiFile } from "./cdi/file.ts";
export { defaultApparmor, defaultApparmorName } from "./security/apparmor-default.ts";
export { linuxCapabilities } from "./security/capabilities.ts";
export type { HostDevice, GrantedDevice } from "./devices.ts";
export { onFirstCpu } from "./exec-affinity.ts";
export type { ExecVariable } from "./exec-env.ts";
export { execEnv } from "./exec-env.ts";
export { containerSpec } from "./generate.ts";
export { writesCgroups } from "./handler/cgroup-mounts.ts";
export type { HookDefinition } from "./handler/hooks.ts";
export { parseHook } from "./handler/hooks.ts";
export type { ContainerLabels, PluginAdjustments, SpecHost, SpecInput } from "./input.ts";
export { parseSpec, refuseNul, specText, startedProcess } from "./json.ts";
export { isKernelPath } from "./kernel-paths.ts";
export { checkPropagation, mountDestination } from "./mounts.ts";
export { clampedOomScoreAdj, processSpec, withConsoleSize } from "./process.ts";
export { resourceUpdate } from "./resource-update.ts";
export { checkResources } from "./resources.ts";
export { parseSeccompProfile } from "./security/seccomp-profile.ts";
export { apparmorChoice, seccompChoice } from "./security/security.ts";
export type { SelinuxDefaults } from "./security/selinux.ts";
export {
  containerLabels,
  parseSelinuxContexts,
  podLabels,
  relabelPaths,
  selinuxPolicy,
} from "./security/selinux.ts";
export { nodeIdsOfContainer } from "./security/own-ids.ts";
export { checkSharedPid } from "./security/shared-pid.ts";
export { parseSignal, stopSignal } from "./stop-signal.ts";
export { parseHardLimits } from "./ulimits.ts";
export type { DeclaredVolumes } from "./volumes.ts";
export { declaredVolumes } from "./volumes.ts";
export { checkContainerConfig } from "./validate.ts";
export { askedNotifier, type NotifierAction } from "./security/notifier-annotations.ts";
