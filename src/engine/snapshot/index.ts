// Snapshots of pods: checkpoints that the node keeps. Start with take.ts.
export type { PodCapture, SnapshotContext } from "./context.ts";
export { type SnapshotRequest, takeSnapshot } from "./take.ts";
export { exportSnapshot, importSnapshot, listSnapshots, removeSnapshot } from "./snapshots.ts";
