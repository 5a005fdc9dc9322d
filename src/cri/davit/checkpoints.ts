// The RPCs of davit.v1.Checkpoints, by their names.
export { exportSnapshot } from "./export-snapshot.ts";
export { importSnapshot } from "./import-snapshot.ts";
export { listSnapshots } from "./list-snapshots.ts";
export { pause } from "./pause.ts";
export { removeSnapshot } from "./remove-snapshot.ts";
export { resume } from "./resume.ts";
export { takeSnapshot } from "./take-snapshot.ts";
