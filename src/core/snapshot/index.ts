// Unpacked layers and the root file systems on them. Imports base and core/image.
export type { LayerSource, RootFs, Snapshots, Usage } from "./snapshot.ts";
