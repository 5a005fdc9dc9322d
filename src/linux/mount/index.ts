/** Mounts: bind, tmpfs, overlay, and the list of mounts in /proc/self/mountinfo. */
export {
  type BindOptions,
  bindMount,
  listMounts,
  type MountEntry,
  makePrivateBind,
  mountTmpfs,
  type TmpfsOptions,
  unmount,
} from "./mounts.ts";
export { mountOverlay, type OverlayOptions } from "./overlay.ts";
