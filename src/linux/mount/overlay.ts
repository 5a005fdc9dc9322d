import { nativeJob } from "../native.ts";

/** An overlay to mount (overlayfs.rst). All names are relative to `directory`. */
export interface OverlayOptions {
  readonly directory: string;
  readonly target: string;
  /**
   * Writable layer and scratch directory: on one file system, for this mount alone and for once. Without
   * them it is read-only, and takes two layers at least.
   */
  readonly upper?: string;
  readonly work?: string;
  /** Read-only layers, topmost first; at least one. */
  readonly lower: readonly [string, ...string[]];
  /**
   * For containers of a user namespace: the layers' files belong to its ids. On failure nothing of
   * it stays; a crash can leave a mount on `at`.
   */
  readonly mapped?: {
    /** Path of the user namespace. */
    readonly namespace: string;
    /** Name of a directory that is made for the moment of the mount. */
    readonly at: string;
  };
  /** SELinux label that all files have, whatever the layers say. */
  readonly label?: string;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel?: boolean;
}

/**
 * Mounts an overlay, volatile (nothing is ever synced for it) and without index. 127 layers fit,
 * also on kernels that do not take layers one by one: there they are named by symbolic links that
 * exist in `directory` for the moment of the mount.
 *
 * A SystemError gives overlayfs' own words, where it has any.
 */
export async function mountOverlay(options: OverlayOptions): Promise<void> {
  const { directory, target, upper = "", work = "", lower, mapped, label, asOldKernel } = options;
  await nativeJob(
    "mountOverlay",
    [
      directory,
      mapped?.namespace ?? null,
      mapped?.at ?? "",
      target,
      upper,
      work,
      label ?? null,
      ...lower,
    ],
    [asOldKernel === true ? 1 : 0],
  );
}
