// The files of checkpoints, and the directories and archives that they are in. Implements `Checkpoints` of core. What is
// read is hostile until its code was checked: archives are read by a process of their own. Loaded with the first
// checkpoint. Start with checkpoints.ts.
export { type CheckpointFilesDeps, CheckpointStore } from "./checkpoints.ts";
export { FileOutputs } from "./outputs.ts";
export { SnapshotStore, type SnapshotStoreDeps } from "./snapshots.ts";
