import { addon, callNative, runJob, runNumbersJob, runTextsJob } from "../addon.ts";

/** Owner, permissions and times of a file. */
export interface FileAttributes {
  readonly uid: number;
  readonly gid: number;
  /** The 12 bits of chmod(2); `undefined` for a symbolic link, which has none. */
  readonly mode: number | undefined;
  /** Of the last change and access; `undefined` leaves them. */
  readonly time: FileTime | undefined;
}

/** A time as in struct timespec: `nanoseconds` is never negative. */
export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A step of {@link runSteps}. */
export interface NativeFileStep {
  readonly kind: keyof typeof stepCodes;
  readonly path: string;
  /** The model directory, the file to copy, the target of the link, the text to write, or the options of the tmpfs. */
  readonly text?: string;
  /** Permission bits. */
  readonly mode?: number;
  /** -1, and by default: unchanged. For a directory like a model: added to the ids of the model. */
  readonly uid?: number;
  readonly gid?: number;
  readonly mayExist?: boolean;
}

interface Calls {
  lockFile(path: string): number;
  changeDirectory(path: string): void;
  preparePipe(fd: number, bytes: number): void;
  setAttributes(
    path: string,
    uid: number,
    gid: number,
    mode: number,
    seconds: number,
    nanoseconds: number,
  ): void;
  makeFile(
    path: string,
    bytes: Uint8Array,
    uid: number,
    gid: number,
    mode: number,
    seconds: number,
    nanoseconds: number,
  ): void;
  beginWriteOut(fd: number, at: number, bytes: number): boolean;
  makeNode(path: string, mode: number, major: number, minor: number): void;
  setXattr(path: string, name: string, value: string): void;
  getXattrs(path: string): readonly string[];
}

const calls = (): Calls => addon() as Calls;

/** As in native/file-steps.c. */
const stepCodes = {
  "make-directory": 0,
  "write-file": 1,
  "append-to-file": 2,
  "copy-file": 3,
  "mount-tmpfs": 4,
  "make-link": 5,
} as const;

/**
 * pool, about 5 us a file. The contents of files of the kernel (proc, cgroupfs), read one after the other in one job,
 * so that a file whose read waits in the kernel does not stop the event loop. `null`
 * for a file that cannot be read or has 64 KiB or more. One character for each byte. Files of one directory should
 * follow each other: the directory is then looked up once.
 */
export async function readFiles(paths: readonly string[]): Promise<readonly (string | null)[]> {
  return await runTextsJob("readFiles", [null, ...paths]);
}

/**
 * pool. Like {@link readFiles}, for files of words that end with NUL bytes, as command lines of processes are (proc_pid_cmdline(5)).
 * Bytes that are not UTF-8 become U+FFFD.
 */
export async function readWords(
  paths: readonly string[],
): Promise<readonly (readonly string[] | null)[]> {
  const texts = await runTextsJob("readWords", [null, ...paths]);
  return texts.map((text) => (text === null ? null : text.split("\0")));
}

/**
 * own, 0.1 ms. Like {@link readFiles}, inside a network namespace. Paths go through `/proc/thread-self`, because
 * `/proc/self` is the process's first thread, which stays outside
 * (proc_thread-self(5)). Rejects with `not-found` when nothing is at `net`, and with
 * `invalid-argument` when the file there is not a network namespace.
 */
export async function readFilesInNamespace(
  namespace: { readonly net: string },
  paths: readonly string[],
): Promise<readonly (string | null)[]> {
  return await runTextsJob("readFilesInNamespace", [namespace.net, ...paths]);
}

/**
 * own, 0.1 ms and about 20 us a namespace. The content of one file as it is in each of the network namespaces, with a
 * path as for {@link readFilesInNamespace}; `null` for a namespace that cannot be entered.
 */
export async function readFileInNamespaces(
  path: string,
  nets: readonly string[],
): Promise<readonly (string | null)[]> {
  return await runTextsJob("readFileInNamespaces", [path, ...nets]);
}

/**
 * pool. Mounts the directory at `path` in `root` on `target`, read-only and private, without the mounts
 * below it. The kernel follows symbolic links as for a process inside the root (openat2,
 * RESOLVE_IN_ROOT). An empty path is the root itself. ENOENT, ENOTDIR and ELOOP: there is no directory.
 * When it rejects, nothing is mounted.
 */
export async function bindInRoot(root: string, path: string, target: string): Promise<void> {
  await runJob("bindInRoot", [root, path, target]);
}

/**
 * pool. Copies the content of the directory at `path` in `root` to the empty directory `target`, with owners, modes,
 * times, extended attributes, hard links and device nodes, and gives `target` the attributes of the directory itself.
 * `path` is resolved as by {@link bindInRoot}. False when nothing is there. ENOTDIR: it is not a directory.
 * The copy can take long, and continues when its caller no longer waits.
 */
export async function copyInRoot(root: string, path: string, target: string): Promise<boolean> {
  return (await runNumbersJob("copyInRoot", [root, path, target]))[0] === 1;
}

/**
 * pool. Reads text files of a root. For each path the text, why the file is refused, or neither when there is no file.
 * Paths are resolved as by {@link bindInRoot}.
 */
export async function readInRoot(
  root: string,
  paths: readonly string[],
  maxBytes: number,
): Promise<readonly { readonly text: string | undefined; readonly refusal: string | undefined }[]> {
  const texts = await runTextsJob("readInRoot", [root, ...paths], [maxBytes]);
  return paths.map((_, index) => ({
    text: texts[2 * index] ?? undefined,
    refusal: texts[2 * index + 1] ?? undefined,
  }));
}

/**
 * pool. The names of an open file's or directory's extended attributes, one character for each byte; none when its
 * file system does not support them.
 */
export async function xattrNames(fd: number): Promise<readonly string[]> {
  const names = await runTextsJob("xattrNames", [], [fd]);
  return names.filter((name) => name !== null);
}

/**
 * pool. Gives an open directory the owner, permissions, times and extended attributes of another one, without
 * the attributes of overlayfs and the SELinux label. ENOSPC: the file system is full, or the file has too many
 * attributes.
 */
export async function copyAttributes(from: number, to: number): Promise<void> {
  await runJob("copyAttributes", [], [from, to]);
}

/**
 * pool. Removes at most `maxEntries` entries of these trees, in order. True when there are more. EPERM: a file is
 * immutable. EXDEV, EBUSY: a mount is in a tree.
 */
export async function removeEntries(
  paths: readonly string[],
  maxEntries: number,
): Promise<boolean> {
  return (await runNumbersJob("removeTree", paths, [maxEntries]))[0] === 1;
}

/**
 * pool. Bytes and inodes of a directory and of more directories on its file system, which need not exist. Does not
 * enter other mounts.
 */
export async function diskUsage(
  directory: string,
  more: readonly string[],
): Promise<{ readonly bytes: number; readonly inodes: number }> {
  const [bytes = 0, inodes = 0] = await runNumbersJob("diskUsage", [directory, ...more]);
  return { bytes, inodes };
}

/**
 * pool. Gives a file, or a directory and everything in it on the same mount, an SELinux label, the
 * path itself last. A file that has the label is not written; a symbolic link is labelled, not followed.
 * Does nothing on a file system without labels. Rejects at the first failure. EINVAL: the policy does not know the
 * label. EROFS.
 */
export async function relabel(path: string, label: string): Promise<void> {
  await runJob("relabel", [path, label]);
}

/**
 * pool. Waits until all data that any process wrote to the file system of this descriptor is on its disk. EIO, ENOSPC:
 * some of it could not be written. A descriptor learns of such an error once, at its next sync, also if another
 * descriptor has: but only if it was open when the error occurred (syncfs(2), Linux 5.8). `path` is for errors.
 */
export async function syncFileSystem(fd: number, path: string): Promise<void> {
  await runJob("syncFileSystem", [path], [fd]);
}

/**
 * pool. A descriptor of the directory at `path` below `directory`, which the caller closes. No symbolic link is
 * followed below `directory`. Missing directories are made with `mode`, or are an error without it. ELOOP: there is a
 * symbolic link on the way; the error's path names it.
 */
export async function openDirectory(
  directory: string,
  path: string,
  mode: number | undefined,
): Promise<number> {
  const [fd = -1] = await runNumbersJob("openDirectory", [directory, path], [mode ?? -1]);
  return fd;
}

// Project quotas, see native/projects.c. They need Linux 5.14 (quotactl_fd(2)).

/**
 * pool. Whether the file system of a directory enforces limits of projects. ENOSYS: it has no quotas, or the kernel
 * is too old. EINVAL, ENOTTY, EOPNOTSUPP: it knows no projects.
 */
export async function enforcesProjects(directory: string): Promise<boolean> {
  return (await runNumbersJob("enforcesProjects", [directory]))[0] === 1;
}

/** pool. The project of each directory; 0 for none, and for a directory that is missing. */
export async function projectsOf(directories: readonly string[]): Promise<readonly number[]> {
  return directories.length === 0 ? [] : await runNumbersJob("projectsOf", directories);
}

/**
 * pool. Limits a project to `kib` KiB, and puts directories of one file system into it, with what will be made in them.
 * False, and nothing is changed, if the project has a limit or files already. EOPNOTSUPP, ENOTTY: the file
 * system knows no projects.
 */
export async function beginProject(
  project: number,
  kib: number,
  directories: readonly string[],
): Promise<boolean> {
  return (await runNumbersJob("beginProject", directories, [project, kib]))[0] === 1;
}

/** pool. The space that the files of a project take on the file system of `directory`, with what is not written yet. */
export async function projectUsage(
  directory: string,
  project: number,
): Promise<{ readonly bytes: bigint; readonly inodes: bigint }> {
  const [bytes = 0, inodes = 0] = await runNumbersJob("projectUsage", [directory], [project]);
  return { bytes: BigInt(bytes), inodes: BigInt(inodes) };
}

/** pool. Removes the limit of a project. */
export async function endProject(directory: string, project: number): Promise<void> {
  await runJob("endProject", [directory], [project]);
}

/** pool. Runs steps in order until one fails; the `step` of the error's cause is the index of that one. */
export async function runSteps(steps: readonly NativeFileStep[]): Promise<void> {
  await runJob(
    "runFileSteps",
    steps.flatMap(({ path, text }) => [path, text ?? null]),
    steps.flatMap(({ kind, mode = 0, uid = -1, gid = -1, mayExist = false }) => [
      stepCodes[kind],
      mode,
      uid,
      gid,
      mayExist ? 1 : 0,
    ]),
  );
}

/**
 * main. A descriptor that holds the lock; undefined when another open file holds it. ELOOP: the path is a symbolic
 * link.
 */
export function openLocked(path: string): number | undefined {
  const fd = callNative(() => calls().lockFile(path), "take lock");
  return fd < 0 ? undefined : fd;
}

// What node:fs cannot do to one file: nanoseconds, device nodes and extended attributes. These calls run on
// the calling thread and can wait for the disk: they are for the unpacker's process, never for the daemon.
//
// A path is a byte string: one character of U+0000 to U+00FF for each byte, because file names need not
// be UTF-8. A symbolic link at the end of a path is never followed.

/** Changes the working directory of this process (chdir(2)), which follows a symbolic link. */
export function changeDirectory(path: string): void {
  callNative(() => calls().changeDirectory(path));
}

/** Sets the owner, then permissions, then times: a change of the owner clears the setuid bits. */
export function setAttributes(path: string, { uid, gid, mode, time }: FileAttributes): void {
  const [seconds, nanoseconds] = [time?.seconds ?? 0, time?.nanoseconds ?? -1];
  callNative(() => calls().setAttributes(path, uid, gid, mode ?? -1, seconds, nanoseconds));
}

/**
 * Makes a file with its content and attributes, by one descriptor. `already-exists`, and nothing is changed, if something
 * is at the path; after another failure the file may be incomplete. This process must have the umask 0.
 */
export function makeFile(
  path: string,
  bytes: Uint8Array,
  { uid, gid, mode, time }: FileAttributes & { readonly mode: number },
): void {
  const [seconds, nanoseconds] = [time?.seconds ?? 0, time?.nanoseconds ?? -1];
  callNative(() => calls().makeFile(path, bytes, uid, gid, mode, seconds, nanoseconds));
}

/** Makes a device or a FIFO; `mode` has the type bits (mknod(2)). `already-exists` if something is at the path. */
export function makeNode(
  path: string,
  mode: number,
  device: { readonly major: number; readonly minor: number } = { major: 0, minor: 0 },
): void {
  callNative(() => calls().makeNode(path, mode, device.major, device.minor));
}

/**
 * Lets the kernel begin to write a part of a file to the disk, so that a sync that follows waits for less. It makes
 * nothing durable: where it returns false, the sync does all of it, or fails.
 */
export function beginWriteOut(fd: number, at: number, bytes: number): boolean {
  return callNative(() => calls().beginWriteOut(fd, at, bytes));
}

/**
 * Sets an extended attribute; `value` is a byte string, too. `unimplemented` (EOPNOTSUPP) when the file system
 * does not support the name. EPERM: a name in user.* on something other than a file or directory.
 */
export function setXattr(path: string, name: string, value: string): void {
  callNative(() => calls().setXattr(path, name, value));
}

/** The extended attributes of a file, a name and its value in turn; none where the file system has none. */
export function getXattrs(path: string): readonly string[] {
  return callNative(() => calls().getXattrs(path));
}

/**
 * Makes reads of a descriptor wait for data, and raises the capacity of a pipe as far as this process may, so that
 * reader and writer wait for each other less often. O_NONBLOCK can be set by a previous owner: Node.js sets it when
 * `process.stdin` is used. Never fails.
 */
export function preparePipe(fd: number, capacityBytes: number): void {
  callNative(() => calls().preparePipe(fd, capacityBytes));
}
