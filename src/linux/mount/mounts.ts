import { readFile } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";
import { bindFlags, type NativeWatch, native, nativeError, nativeJob } from "../native.ts";
import { systemError } from "../../base/system-error.ts";

/** How a bind mount differs from its source. */
export interface BindOptions {
  /** Mounts made below it appear nowhere else. */
  readonly private?: boolean;
  /** With `recursive`, what is mounted below is read-only, too. */
  readonly readonly?: boolean;
  /** What is mounted below the source comes along. */
  readonly recursive?: boolean;
}

/** A tmpfs, as /dev/shm of a pod is one. */
export interface TmpfsOptions {
  /** How much all of its files can hold. The kernel counts whole pages. */
  readonly sizeBytes: number;
  /** How many files and directories it can have, its root included. The kernel's default is half of the pages of memory. */
  readonly inodes?: number;
  /** Permissions of its root, 0o1777 for a shared one. */
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  /** SELinux label that all files have. */
  readonly label?: string | undefined;
}

/** A line of /proc/self/mountinfo (proc_pid_mountinfo(5)), with its escapes resolved. */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor`. */
  readonly device: string;
  /** What of the file system is mounted: `/`, or the source of a bind within it. */
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  /** `shared:N`, `master:N`...; empty for a private mount. */
  readonly propagation: readonly string[];
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** Binds a file or directory to an existing one. When it rejects, nothing is mounted. */
export async function bindMount(
  source: string,
  target: string,
  options: BindOptions = {},
): Promise<void> {
  const flags =
    (options.private === true ? bindFlags.private : 0) |
    (options.readonly === true ? bindFlags.readonly : 0) |
    (options.recursive === true ? bindFlags.recursive : 0);
  await nativeJob("bindMount", [source, target], [flags]);
}

/** Mounts a tmpfs (nosuid, nodev, noexec; source `shm`) on an existing directory. */
export async function mountTmpfs(target: string, options: TmpfsOptions): Promise<void> {
  await nativeJob("mountTmpfs", ["shm", target, tmpfsText(target, options)]);
}

/** The options of a tmpfs to be mounted on `target` as mount(2) takes them, see tmpfs(5). */
export function tmpfsText(target: string, options: TmpfsOptions): string {
  const { sizeBytes, inodes, mode, uid = 0, gid = 0 } = options;
  const numbers = [sizeBytes, mode, uid, gid, ...(inodes === undefined ? [] : [inodes])];
  // Of size and inodes 0 means "no limit" to the kernel, which nobody can want here.
  const isLimited = sizeBytes > 0 && inodes !== 0;
  if (!numbers.every((n) => Number.isSafeInteger(n) && n >= 0) || !isLimited) {
    throw new RuntimeError(
      "invalid-argument",
      `mount tmpfs on "${target}": want a positive size and a mode, got ${numbers.join(", ")}`,
    );
  }
  const files = inodes === undefined ? "" : `,nr_inodes=${inodes}`;
  const label = options.label === undefined ? "" : `,context="${options.label}"`;
  return `size=${sizeBytes}${files},mode=${mode.toString(8)},uid=${uid},gid=${gid}${label}`;
}

/**
 * Takes the topmost mount on each path away, at once for new users (MNT_DETACH) and for good when
 * its last file is closed. Done where nothing is mounted.
 */
export async function unmount(...targets: readonly [string, ...string[]]): Promise<void> {
  await nativeJob("unmount", targets);
}

/**
 * Makes the directory a mount point whose inner mounts appear in no other mount namespace: systemd
 * makes `/` shared, and what is mounted in a shared tree is copied to every peer and stays busy
 * there. Done when it is one already.
 *
 * With `inert`, nothing in it is setuid, a device or executable (nosuid, nodev, noexec), even if it was a
 * mount point before. Mounts below it have flags of their own.
 */
export async function makePrivateBind(
  dir: string,
  options: { readonly inert?: boolean } = {},
): Promise<void> {
  await nativeJob("makePrivateBind", [dir], [options.inert === true ? 1 : 0]);
}

/** All mounts of our mount namespace, parents before what is mounted on them. */
export async function listMounts(): Promise<readonly MountEntry[]> {
  const path = "/proc/self/mountinfo";
  try {
    return parseMountInfo(await readFile(path, "utf8"));
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * Calls back from the event loop once at first, and after each change of the mount table; changes
 * that happen together are told once. What changed is not told: read it again. Disposing ends it.
 *
 * NOTE(kernel): mountinfo tells each change to the first poll after it and to no other
 * (mounts_poll() in fs/proc_namespace.c). epoll polls when the fd is added and again when it
 * reports, so a change before the fd was added is lost. libuv adds it at the start of its next poll
 * phase, which the second of two immediates comes after: hence the first call.
 */
export function watchMounts(onChange: () => void): Disposable {
  let watch: NativeWatch;
  try {
    watch = native().watchMounts(onChange);
  } catch (cause) {
    throw nativeError(cause, "watch the mount table");
  }
  let first = setImmediate(() => {
    first = setImmediate(onChange);
  });
  return {
    [Symbol.dispose]: () => {
      clearImmediate(first);
      native().watchClose(watch);
    },
  };
}

/** Parses the text of a mountinfo file; lines that are not of its form are an error. */
export function parseMountInfo(text: string): readonly MountEntry[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map(parseMountLine);
}

function parseMountLine(line: string): MountEntry {
  const fields = line.split(" ");
  // Any number of propagation fields stands before the separator.
  const separator = fields.indexOf("-", 6);
  const [id, parentId, device, root, mountPoint, options] = fields;
  const [fsType, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || root === undefined || mountPoint === undefined || fsType === undefined) {
    throw new RuntimeError("internal", `parse mountinfo: unknown form of line "${line}"`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device: device ?? "",
    root: unescape(root),
    mountPoint: unescape(mountPoint),
    options: (options ?? "").split(","),
    propagation: fields.slice(6, separator),
    fsType: unescape(fsType),
    source: unescape(source ?? ""),
    superOptions: (superOptions ?? "").split(",").map(unescape),
  };
}

/** The kernel writes space, tab, newline, backslash and # as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
