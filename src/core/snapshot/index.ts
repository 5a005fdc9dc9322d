// Unpacked layers, and the root file systems on them. Imports base, core/image, core/operation and core/store.
export type {
  FileSystemSpace,
  LayerLimit,
  LayerLimits,
  LayerOrigin,
  Layers,
  LayerSource,
  Usage,
} from "./layers.ts";
export type { ChangedFiles, ChangesRequest, ContainerChanges } from "./changes.ts";
export type { LayerChecker, LayerProblem } from "./checker.ts";
export type { LayerPacker, PackedImage } from "./packer.ts";
export type {
  ImageVolume,
  RootFs,
  RootOptions,
  Roots,
  RootUsers,
  VolumeOwner,
} from "./roots.ts";
export { OtherFormat, unpackInAnyFormat } from "./other-format.ts";
export { isTooLarge, TooLarge } from "./too-large.ts";
