import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { RuntimeError } from "../base/errors.ts";
import { errnoName, SystemError } from "../base/system-error.ts";

/** An fd that the event loop watches inside the addon. */
export interface NativeWatch {
  readonly __watch: never;
}

export interface NativeChild {
  readonly pid: number;
  readonly watch: NativeWatch;
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

type NativeJob = (strings: readonly (string | null)[], numbers: readonly number[]) => Promise<void>;
type NativeCount = (
  strings: readonly string[],
  numbers: readonly number[],
) => Promise<readonly number[]>;
type NativeTexts = (
  strings: readonly (string | null)[],
  numbers: readonly number[],
) => Promise<readonly (string | null)[]>;
type NativeExit = (code: number, signal: number) => void;

/** The arguments of both spawn calls, in the order in which C takes them. */
export type NativeSpawn = readonly [
  file: string,
  argv: readonly string[],
  env: readonly string[],
  cwd: string | null,
  numbers: readonly number[],
  namespaces: readonly string[],
  cgroups: readonly string[],
  onExit: NativeExit,
];

/**
 * Everything that the addon in `native/` can do; no other file loads it. Three places a call runs:
 *
 *   main  on the calling thread, and returns at once
 *   pool  on a thread of libuv's pool (UV_THREADPOOL_SIZE), for what may wait in the kernel
 *   own   on a thread made for the call, which ends with it, as it changes its namespaces; a pool
 *         thread waits for it
 *
 * A failing call throws (main) or rejects (pool, own) with `{errno, call, path, step}`; `native()` callers
 * turn that into a SystemError through `nativeError`. Needs Linux 5.12 (mount_setattr; close_range
 * 5.9, pidfds 5.4) and the main thread of the process: in a worker thread the watches are refused.
 */
interface Native {
  /** main, blocked until the child's execve (0.1 to 0.3 ms). ENOENT, EACCES, ENOEXEC of the file; EAGAIN at a process limit; whatever open, setns and write say of namespaces and cgroups. */
  spawn(...plan: NativeSpawn): NativeChild;
  /** pool. The same: for children that enter a cgroup, which can wait 10 ms for the kernel on v1. */
  spawnInPool(...plan: NativeSpawn): Promise<NativeChild>;
  /** main. ESRCH: no such process; EINVAL: the id of a thread. */
  watchProcess(pid: number, onExit: NativeExit): NativeWatch;
  /** main. */
  watchMounts(onChange: () => void): NativeWatch;
  /** main. false for ESRCH: the process is gone. EINVAL: no such signal. */
  watchSignal(watch: NativeWatch, signal: number): boolean;
  /** main, idempotent. Not for children: an unwatched child is never reaped. */
  watchClose(watch: NativeWatch): void;
  /** main. The watch stops keeping the process alive. */
  watchUnref(watch: NativeWatch): void;
  /** main. Takes the fd over. `onEvent(events)`: 1 can be read, 2 can be written; after an error both. */
  watchDescriptor(fd: number, onEvent: NativeExit): NativeWatch;
  /** main. What a descriptor's watch calls for; nothing at first. */
  watchEvents(watch: NativeWatch, events: number): void;
  /** main, once. Ends a descriptor's watch and gives the descriptor back, under another number. */
  watchRelease(watch: NativeWatch): number;
  /** main. A unix stream socket that listens. ENAMETOOLONG: over 107 bytes; EADDRINUSE: a file is there. */
  socketListen(path: string): number;
  /** main. SOCK_SEQPACKET. ENOENT, ECONNREFUSED: nobody listens; EAGAIN: its queue is full. */
  socketConnectPackets(path: string): number;
  /** main. -1: nobody is there. */
  socketAccept(watch: NativeWatch): number;
  /** main. The descriptor in the next message, non-blocking; -1: none came yet. ECONNRESET: the end; EPROTO: a message without, or with two. */
  socketReceive(watch: NativeWatch): number;
  /** main. shutdown(2) of our direction. */
  socketEnd(watch: NativeWatch): void;
  /** main. To the loopback of the socket's family; false: under way. */
  socketConnectLoopback(watch: NativeWatch, port: number): boolean;
  /** main. ECONNREFUSED and others: what became of a connect that was under way. */
  socketError(watch: NativeWatch): void;
  /** main. 0: the end; -1: nothing there yet. EIO: nobody has the terminal open. */
  descriptorRead(watch: NativeWatch, bytes: Uint8Array): number;
  /** main. -1: no room yet. EPIPE, EIO: nobody reads. */
  descriptorWrite(watch: NativeWatch, bytes: Uint8Array): number;
  /** main. rows * 65536 + columns. ENOTTY. */
  terminalResize(watch: NativeWatch, size: number): void;
  /** main, 0.05 ms; the thread is in the namespace (null: the host's) meanwhile. A TCP socket, -1: no such family here. ENOENT; EINVAL: no namespace. */
  socketInNamespace(net: string | null, ipv6: boolean): number;
  /** main. -1 when another open file holds the lock. ELOOP: the path is a symbolic link. */
  lockFile(path: string): number;
  /** main, 1 to 3 ms. Never fails. */
  releaseMemory(): void;
  /** main. The calling thread, not its children. False: it may not, or somebody has chosen its scheduling. */
  preferThread(nice: number, sliceNs: number): boolean;
  /** main, never waits. A path, or "@" and an abstract name. ENOENT, ECONNREFUSED: nobody listens; EAGAIN: its queue is full. */
  notifyService(socket: string, text: string): void;
  /** main, 0.3 ms for 600 KB. [path, limit]. -1: no ELF program, or larger than the limit. */
  sealedCopy(path: string, limitBytes: number): number;
  /** _exit(2). */
  exitNow(code: number): never;
  /** own. [net, ipc, uts, hostname]. EEXIST: a file is at the path. ENOSPC: too many namespaces. */
  readonly pinNamespaces: NativeJob;
  /** pool. [user, net, ipc, uts, hostname, uid_map, gid_map]. EINVAL, EPERM: a map that the kernel does not take. */
  readonly pinUserNamespace: NativeJob;
  /** pool. [path, ...]; all are tried. EBUSY: what is there is a directory. Not there, or no mount: done. */
  readonly unpinNamespaces: NativeJob;
  /** own. [net, ipc, file, value, ...]. ENOENT: no such sysctl here; EINVAL: its value is refused. */
  readonly writeSysctls: NativeJob;
  /** pool. [user, net, ipc, file, value, ...]: the same, as root of the user namespace. */
  readonly writeUserSysctls: NativeJob;
  /** pool. [null, file, ...]: what each says, null for one that cannot be read or is over 64 KiB. */
  readonly readFiles: NativeTexts;
  /** own. [net, file, ...]: the same. */
  readonly readFilesInNamespace: NativeTexts;
  /** pool. [file, ...]: a descriptor of each, the caller's to close; -1 for one that cannot be opened. */
  readonly openFiles: NativeCount;
  /** pool. [device or directory]: "type major minor mode uid gid /path" for each device below it. */
  readonly listDevices: NativeTexts;
  /** pool. [], [descriptor of cgroupfs, ...]: as readFiles; null for a number below 0. */
  readonly readOpenFiles: NativeTexts;
  /** pool. [source, target], [flags]. ENOENT, ENOTDIR (a file on a directory or the reverse). */
  readonly bindMount: NativeJob;
  /** pool. [source, target, options]. */
  readonly mountTmpfs: NativeJob;
  /** pool. [target, ...]. Not there, or no mount: done. */
  readonly unmount: NativeJob;
  /** pool. [dir], [1 for nosuid, nodev and noexec]. */
  readonly makePrivateBind: NativeJob;
  /** own. [dir, user namespace, mapped, target, upper, work, SELinux label or null, lower, ...] names are relative to dir, topmost first; [1 as before 6.7]. upper "": read-only. EINVAL, ESTALE, ENOENT: what overlayfs does not take; EINVAL of a layer: its file system maps no ids. */
  readonly mountOverlay: NativeJob;
  /** pool. [root, path in it, target], read-only. ENOENT, ENOTDIR, ELOOP: no directory is there. */
  readonly bindInRoot: NativeJob;
  /** pool. [root, path in it, empty target]: [1, or 0 when nothing is there]. ENOTDIR: no directory. */
  readonly copyInRoot: NativeCount;
  /** pool. [root, path in it, ...], [bytes at most]: [text or null, why it is refused or null, ...]. Both null: no file is there. */
  readonly readInRoot: NativeTexts;
  /** pool. [], [descriptor]: its extended attributes' names. */
  readonly xattrNames: NativeTexts;
  /** pool. [], [descriptor of a directory, of another one that gets its attributes]. ENOSPC: of the file system, or of one file's attributes. */
  readonly copyAttributes: NativeJob;
  /** pool. [path, ...], [entries at most]: [1 when there is more]. EPERM: an immutable file; EXDEV, EBUSY: a mount in it. */
  readonly removeTree: NativeCount;
  /** pool. [cgroup, ...], [1 with those in it, 0: one that has any stays]: the busy one of each, or null. ENOTEMPTY: files that are not the kernel's. */
  readonly removeCgroups: NativeTexts;
  /** pool. [cgroup, ...]: [names of those directly in them, one a line]. */
  readonly listCgroups: NativeTexts;
  /** pool. [cgroup, ...]: [pids of the processes in them and below, one a line; 0: of another PID namespace]. */
  readonly listProcesses: NativeTexts;
  /** pool. [file, value]: [1 when it is written, errno when it is not there]. EINVAL, EBUSY, ENOSPC and others: the kernel refuses the value. */
  readonly writeCgroupFile: NativeCount;
  /** pool. [cgroup of v1's freezer]: [1, or 0 when it is not there]. SIGKILL to all in it and below, frozen meanwhile. */
  readonly killFrozen: NativeCount;
  /** pool. [path, SELinux label]: what is in it before it itself. EINVAL: not in the policy; EROFS. EOPNOTSUPP of the path: done. */
  readonly relabel: NativeJob;
  /** pool. [dir, dir that may be missing, ...]: [bytes, inodes]. */
  readonly diskUsage: NativeCount;
  /** pool. [path]. EIO, ENOSPC: what was written is not all on the disk. */
  readonly syncFileSystem: NativeJob;
  /** pool. [directory, path below it or ""], [mode to make missing ones with, or -1]: [descriptor], the caller's to close. ELOOP: a symbolic link on the way; the error's path names it. */
  readonly openDirectory: NativeCount;
  /** pool. See file-steps.ts. The error's `step` is the index of the one that failed. */
  readonly runFileSteps: NativeJob;
  /** main; names from here on have one byte a character. [directory]. */
  enterRoot(directory: string): void;
  /** main. No O_NONBLOCK, and F_SETPIPE_SZ. Never fails: a pipe that may not grow, or is none, stays. */
  preparePipe(fd: number, bytes: number): void;
  /** main. mode < 0 and nanoseconds < 0: left as they are. */
  setAttributes(
    path: string,
    uid: number,
    gid: number,
    mode: number,
    seconds: number,
    nanoseconds: number,
  ): void;
  /** main. mode with the type. */
  makeNode(path: string, mode: number, major: number, minor: number): void;
  /** main. EOPNOTSUPP: not this name on this file system; EPERM: user.* on no file or directory. */
  setXattr(path: string, name: string, value: string): void;
}

/** Bits of the spawn call's fourth number, as in native/spawn.c. */
export const spawnFlags = { newSession: 1, newPidNamespace: 2 } as const;
/** What stands for a descriptor in the spawn call's first three numbers, as in native/spawn.c. */
export const spawnStdio = { null: -1, pipe: -2, asStdout: -3 } as const;
/** Bits of watchEvents' second argument (uv_poll_event). */
export const watchedEvents = { readable: 1, writable: 2 } as const;
/** Bits of bindMount's number, as in native/mounts.c. */
export const bindFlags = { private: 1, readonly: 2, recursive: 4 } as const;

let loaded: Native | undefined;

/** The addon, loaded at its first use so that commands without kernel work do not need it. */
export function native(): Native {
  loaded ??= load();
  return loaded;
}

/**
 * The path of the program that is PID 1 in a pod-wide PID namespace (native/holder.c). It takes no
 * arguments and ends on SIGTERM; only SIGKILL is certain in its first moments, since the kernel
 * drops a signal that PID 1 neither handles nor has blocked yet.
 */
export function holderPath(): string {
  return builtFile("davit-holder");
}

/**
 * The path of the program that runs another one to its end and then waits for the process that this one left behind
 * (native/waiter.c): arguments are the path of the file with that process's pid, or "-" where the program's own
 * end is the end, and the program with its own arguments. It ends with the process's exit code, 128 and the signal
 * when a signal ended it, with the program's own code when that fails, 126 when there is no such process, and 127
 * when there is no such program.
 */
export function waiterPath(): string {
  return builtFile("davit-waiter");
}

/**
 * The path of the program that runs a command with variables of any bytes (native/env.c): arguments are the
 * number of those variables, their names, and the command with its own arguments. It becomes the command;
 * where that cannot be, it says why on stderr and ends with 127 where there is no such command, else with 126.
 */
export function envProgramPath(): string {
  return builtFile("davit-env");
}

/** Turns what a native call threw into a SystemError that names call, object and errno. */
export function nativeError(cause: unknown, doing?: string): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  if (!(cause instanceof Error) || !("errno" in cause) || typeof cause.errno !== "number") {
    const text = cause instanceof Error ? cause.message : String(cause);
    return new RuntimeError("internal", `${doing ?? "call the native addon"}: ${text}`, { cause });
  }
  const path = "path" in cause && typeof cause.path === "string" ? cause.path : "";
  const call = path === "" ? cause.message : `${cause.message} "${path}"`;
  const prefix = doing === undefined ? call : `${doing}: ${call}`;
  return new SystemError(prefix, errnoName(cause.errno), { cause });
}

/** Runs one job of the addon and gives its failure as a SystemError. */
export async function nativeJob(
  name:
    | "pinNamespaces"
    | "pinUserNamespace"
    | "unpinNamespaces"
    | "writeSysctls"
    | "writeUserSysctls"
    | "bindMount"
    | "mountTmpfs"
    | "unmount"
    | "makePrivateBind"
    | "mountOverlay"
    | "bindInRoot"
    | "copyAttributes"
    | "relabel"
    | "syncFileSystem"
    | "runFileSteps",
  strings: readonly (string | null)[],
  numbers: readonly number[] = [],
): Promise<void> {
  try {
    await native()[name](strings, numbers);
  } catch (cause) {
    throw nativeError(cause);
  }
}

/** The same, for the jobs that answer with numbers. */
export async function nativeCount(
  name:
    | "removeTree"
    | "diskUsage"
    | "copyInRoot"
    | "openFiles"
    | "openDirectory"
    | "writeCgroupFile"
    | "killFrozen",
  strings: readonly string[],
  numbers: readonly number[] = [],
): Promise<readonly number[]> {
  try {
    return await native()[name](strings, numbers);
  } catch (cause) {
    throw nativeError(cause);
  }
}

/** The same, for the jobs that answer with texts. */
export async function nativeTexts(
  name:
    | "readFiles"
    | "readFilesInNamespace"
    | "readOpenFiles"
    | "listDevices"
    | "readInRoot"
    | "xattrNames"
    | "removeCgroups"
    | "listCgroups"
    | "listProcesses",
  strings: readonly (string | null)[],
  numbers: readonly number[] = [],
): Promise<readonly (string | null)[]> {
  try {
    return await native()[name](strings, numbers);
  } catch (cause) {
    throw nativeError(cause);
  }
}

function load(): Native {
  const path = builtFile("davit.node");
  try {
    // A .node file is opaque to the compiler: this cast is the edge between C and TypeScript.
    return createRequire(import.meta.url)(path) as Native;
  } catch (cause) {
    const todo = existsSync(path) ? "" : "; it is not built: run sh scripts/build-native.sh";
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new RuntimeError("failed-precondition", `load native addon "${path}": ${text}${todo}`, {
      cause,
    });
  }
}

/** From source the built files are in dist/; in the bundle dist/davit.cjs they lie beside it. */
function builtFile(name: string): string {
  const fromSource = import.meta.url.endsWith("/src/linux/native.ts");
  return fileURLToPath(new URL(fromSource ? `../../dist/${name}` : `./${name}`, import.meta.url));
}
