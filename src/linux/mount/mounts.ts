import { readFile } from "node:fs/promises";

import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";
import * as native from "./native.ts";

/** A tmpfs, such as /dev/shm of a pod. */
export interface TmpfsOptions {
  /** The size of all of its files together. The kernel counts whole pages. */
  readonly sizeBytes: number;
  /** The number of files and directories, including its root. The kernel's default is half of the pages of memory. */
  readonly inodes?: number;
  /** Permissions of its root, 0o1777 for a shared one. */
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  /** SELinux label of all files. */
  readonly label?: string | undefined;
}

/** A line of /proc/self/mountinfo (proc_pid_mountinfo(5)), with its escapes decoded. */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor`. */
  readonly device: string;
  /** The part of the file system that is mounted: `/`, or the source of a bind within it. */
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  /** `shared:N`, `master:N`...; empty for a private mount. */
  readonly propagation: readonly string[];
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** Mounts a tmpfs (nosuid, nodev, noexec; source `shm`) on an existing directory. */
export async function mountTmpfs(target: string, options: TmpfsOptions): Promise<void> {
  await native.mountTmpfs({ source: "shm", target, options: tmpfsText(target, options) });
}

/** The options of a tmpfs to be mounted on `target` as mount(2) takes them, see tmpfs(5). */
export function tmpfsText(target: string, options: TmpfsOptions): string {
  const { sizeBytes, inodes, mode, uid = 0, gid = 0 } = options;
  const numbers = [sizeBytes, mode, uid, gid, ...(inodes === undefined ? [] : [inodes])];
  // To the kernel, 0 bytes or 0 inodes mean "no limit", which is always a mistake here.
  const isLimited = sizeBytes > 0 && inodes !== 0;
  if (!numbers.every((n) => Number.isSafeInteger(n) && n >= 0) || !isLimited) {
    throw new RuntimeError(
      "invalid-argument",
      `mount tmpfs on "${target}": size, mode and ids must be whole numbers, and limits positive; they are ${numbers.join(", ")}`,
    );
  }
  const files = inodes === undefined ? "" : `,nr_inodes=${inodes}`;
  const label = options.label === undefined ? "" : `,context="${options.label}"`;
  return `size=${sizeBytes}${files},mode=${mode.toString(8)},uid=${uid},gid=${gid}${label}`;
}

/** All mounts of this mount namespace, each after the mount that it is mounted on. */
export async function listMounts(): Promise<readonly MountEntry[]> {
  const path = "/proc/self/mountinfo";
  try {
    return parseMountInfo(await readFile(path, "utf8"));
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * Calls `onChange` from the event loop once at first, and after each change of the mount table; changes
 * that happen together are reported once. It does not say what changed: read the table again. Disposing ends it.
 *
 * NOTE(kernel): mountinfo reports each change only to the first poll after it
 * (mounts_poll() in fs/proc_namespace.c). epoll polls when the fd is added and again when it
 * reports, so a change before the fd was added is lost. libuv adds it at the start of its next poll
 * phase, and the second of two immediates runs after that. This is the reason for the first call.
 */
export function watchMounts(onChange: () => void): Disposable {
  const watch = native.watchMountTable(onChange);
  let first = setImmediate(() => {
    first = setImmediate(onChange);
  });
  return {
    [Symbol.dispose]: () => {
      clearImmediate(first);
      watch[Symbol.dispose]();
    },
  };
}

/** Parses the text of a mountinfo file; a line of another form is an error. */
export function parseMountInfo(text: string): readonly MountEntry[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map(parseMountLine);
}

function parseMountLine(line: string): MountEntry {
  const fields = line.split(" ");
  // The separator follows any number of propagation fields.
  const separator = fields.indexOf("-", 6);
  const [id, parentId, device, root, mountPoint, options] = fields;
  const [fsType, source, superOptions] = fields.slice(separator + 1);
  if (separator < 0 || root === undefined || mountPoint === undefined || fsType === undefined) {
    throw new RuntimeError("internal", `parse mountinfo: malformed line "${line}"`);
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

/** The kernel writes space, tab, newline, backslash and # as a backslash and three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
