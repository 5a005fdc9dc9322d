/** Mounts: bind, tmpfs, overlay, and the list of mounts in /proc/self/mountinfo. */
export { listMounts, type MountEntry, mountTmpfs, type TmpfsOptions } from "./mounts.ts";
export {
  type BindOptions,
  bindMount,
  canMapIds,
  makePrivateBind,
  mountErofs,
  mountOverlay,
  type OverlayOptions,
  unmount,
} from "./native.ts";
