// The verbs of checkpoints: of a container, of a pod, and the restore of a pod. A container is restored by its create and
// start (engine/container). Loaded with the first call. Start reading with checkpoint-pod.ts.
export { checkpointContainer, type ContainerCheckpoint } from "./checkpoint-container.ts";
export {
  capturePod,
  checkpointPod,
  type PodCapture,
  type PodCheckpoint,
} from "./checkpoint-pod.ts";
export { type PodRestore, restorePod, type RestoredPod } from "./restore-pod.ts";
export { sweepCheckpoints } from "./sweep.ts";
