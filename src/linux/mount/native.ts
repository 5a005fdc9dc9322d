import {
  addon,
  callNative,
  closeWatch,
  type NativeWatch,
  runJob,
  runNumbersJob,
} from "../addon.ts";

/** How a bind mount differs from its source. */
export interface BindOptions {
  /** Mounts that are made below it appear nowhere else. */
  readonly private?: boolean;
  /** With `recursive`, the mounts below it are read-only, too. */
  readonly readonly?: boolean;
  /** Mounts below the source are bound, too. */
  readonly recursive?: boolean;
}

/** An overlay to mount (overlayfs.rst). All names are relative to `directory`. */
export interface OverlayOptions {
  readonly directory: string;
  readonly target: string;
  /**
   * Writable layer and work directory, on one file system. No other mount may use them, before or after. Without
   * them the overlay is read-only and needs at least two layers.
   */
  readonly upper?: string;
  readonly work?: string;
  /** Read-only layers, topmost first; at least one. */
  readonly lower: readonly [string, ...string[]];
  /**
   * For containers in a user namespace: the layers' files belong to its ids. A failed call leaves nothing
   * behind; a crash can leave a mount on `at`.
   */
  readonly mapped?: {
    /** Path of the user namespace. */
    readonly namespace: string;
    /** Name of a directory that exists during the mount. */
    readonly at: string;
  };
  /** SELinux label of all files, in place of the labels in the layers. */
  readonly label?: string;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel?: boolean;
}

interface Calls {
  watchMounts(onChange: () => void): NativeWatch;
}

/** Bits of bindMount's number, as in native/mounts.c. */
const bindFlags = { private: 1, readonly: 2, recursive: 4 } as const;

/**
 * pool. Binds a file or directory to an existing one. When it rejects, nothing is mounted. ENOENT: one of them does
 * not exist. ENOTDIR: one of them is a directory and the other is not.
 */
export async function bindMount(
  source: string,
  target: string,
  options: BindOptions = {},
): Promise<void> {
  const flags =
    (options.private === true ? bindFlags.private : 0) |
    (options.readonly === true ? bindFlags.readonly : 0) |
    (options.recursive === true ? bindFlags.recursive : 0);
  await runJob("bindMount", [source, target], [flags]);
}

/** pool. Mounts a tmpfs with options as mount(2) takes them: nosuid, nodev, noexec. */
export async function mountTmpfs(mount: {
  readonly source: string;
  readonly target: string;
  readonly options: string;
}): Promise<void> {
  await runJob("mountTmpfs", [mount.source, mount.target, mount.options]);
}

/**
 * pool. Detaches the topmost mount on each path: new users no longer find it (MNT_DETACH), and it ends when its
 * last file is closed. Does nothing where nothing is mounted.
 */
export async function unmount(...targets: readonly [string, ...string[]]): Promise<void> {
  await runJob("unmount", targets);
}

/**
 * pool. Makes the directory a mount point whose inner mounts appear in no other mount namespace: systemd
 * makes `/` shared, and a mount in a shared tree is copied to every peer and stays busy
 * there. Does nothing when the directory is such a mount point already.
 *
 * With `inert`, nothing in it is setuid, a device or executable (nosuid, nodev, noexec), even if it was a
 * mount point before. Mounts below it have flags of their own.
 */
export async function makePrivateBind(
  directory: string,
  options: { readonly inert?: boolean } = {},
): Promise<void> {
  await runJob("makePrivateBind", [directory], [options.inert === true ? 1 : 0]);
}

/**
 * own. Mounts an overlay, volatile (it is never synced) and without index. 127 layers fit,
 * also on kernels that do not accept layers one by one: there they are named by symbolic links that
 * exist in `directory` during the mount.
 *
 * The SystemError has overlayfs' own message where the kernel gives one. EINVAL, ESTALE, ENOENT: overlayfs does not
 * accept the layers. EINVAL of a layer: its file system does not support id-mapped mounts.
 */
export async function mountOverlay(options: OverlayOptions): Promise<void> {
  const { directory, target, upper = "", work = "", lower, mapped, label, asOldKernel } = options;
  const { namespace = null, at = "" } = mapped ?? {};
  await runJob(
    "mountOverlay",
    [directory, namespace, at, target, upper, work, label ?? null, ...lower],
    [asOldKernel === true ? 1 : 0],
  );
}

/**
 * pool. Mounts an EROFS image, a file, read-only on an existing directory, without a loop device. ENODEV: the kernel has
 * no EROFS. ENOTBLK: it does not mount images from files (before Linux 6.12). EINVAL, EUCLEAN: not a valid image.
 */
export async function mountErofs(image: string, target: string): Promise<void> {
  await runJob("mountErofs", [image, target]);
}

/**
 * pool. Whether a mount of this file or directory can have its ids mapped to those of a user namespace
 * (mount_setattr(2), MOUNT_ATTR_IDMAP). It mounts nothing. ENOENT: one of the paths does not exist.
 */
export async function canMapIds(file: string, namespace: string): Promise<boolean> {
  const [can] = await runNumbersJob("canMapIds", [file, namespace]);
  return can === 1;
}

/** main. Calls back after changes of the mount table. Disposing ends it. */
export function watchMountTable(onChange: () => void): Disposable {
  const watch = callNative(() => (addon() as Calls).watchMounts(onChange), "watch the mount table");
  return { [Symbol.dispose]: () => closeWatch(watch) };
}
