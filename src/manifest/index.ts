// A library that an SDK can stand on: Kubernetes Pod YAML to CRI requests. It is pure: it reads no file and
// asks no server. `parsePodManifests` turns text into Pods with the PodSandboxConfig that kubelet would send,
// `containerConfig` makes the ContainerConfig of each container once its image and addresses are known, and
// everything that davit does not support is rejected with its line.
export type { ContainerManifest, Ulimit } from "./container.ts";
export {
  chooseHostIds,
  type IdRange,
  podIdCount,
  subordinateIds,
  withIdMapping,
} from "./ids.ts";
export { ManifestError, parsePodManifests, parsePodNames } from "./parse.ts";
export {
  type HostAlias,
  type NodeInfo,
  ownPodDirectory,
  podDirectory,
  type PodManifest,
  type PodNames,
} from "./pod.ts";
export { parseQuantity } from "./quantity.ts";
export {
  containerConfig,
  gracePeriodAnnotation,
  runAsNonRootViolation,
  type RuntimeState,
} from "./request.ts";
export type { HostPathType, VolumeManifest, VolumeMount } from "./volumes.ts";
