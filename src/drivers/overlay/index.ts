/**
 * Layers unpacked into directories, and container roots as overlay mounts on them. It imports base,
 * core and linux. Start at `overlay-snapshots.ts`; `layer-store.ts` holds the layers, `unpacker.ts`
 * the process that unpacks one, `roots.ts` the mounts.
 */
export { OverlaySnapshots, type OverlaySnapshotsDeps } from "./overlay-snapshots.ts";
export { type UnpackerCommand } from "./unpacker.ts";
