/**
 * Layers unpacked into directories, and container roots as overlay mounts on them. It imports base,
 * core and linux. Start at `open.ts`; `overlay-layers.ts` has the layers, `unpacker.ts` the process
 * that unpacks one, `overlay-roots.ts` the mounts.
 */
export { openOverlay } from "./open.ts";
