// Unpacked layers and the root file systems on them. Imports base and core/image.
export type {
  ImageVolume,
  LayerLimit,
  LayerLimits,
  LayerOrigin,
  LayerSource,
  RootFs,
  RootOptions,
  RootUsers,
  Snapshots,
  Usage,
  VolumeOwner,
} from "./snapshot.ts";
export { isTooLarge, TooLarge } from "./too-large.ts";
