import { RuntimeError } from "../../base/errors.ts";
import {
  addon,
  callNative,
  nativeError,
  type NativeWatch,
  runJob,
  runNumbersJob,
} from "../addon.ts";

/** Where a child's stdin, stdout or stderr goes: to /dev/null, to a pipe, or to a descriptor of this process. */
export type ChildStdio = "null" | "pipe" | number;

/** The program to start, and everything that it inherits from this process. */
export interface SpawnOptions {
  /** An absolute path, or a name that is looked up on `env.PATH`. */
  readonly file: string;
  /** argv[0]; `file` if not given. */
  readonly name?: string;
  /** Without the program's own name, which becomes argv[0]. */
  readonly args?: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** "null" if not given, for all three. A descriptor stays open in this process. */
  readonly stdin?: ChildStdio;
  readonly stdout?: ChildStdio;
  readonly stderr?: ChildStdio;
  /** These become 3, 4, 5... in the child: descriptors of this process, or a copy of the child's stdout. */
  readonly extraFds?: readonly (number | "stdout")[];
  /** The child leads a session (and so a process group) of its own. */
  readonly newSession?: boolean;
  /** The child is PID 1 of a new PID namespace. */
  readonly newPidNamespace?: boolean;
  /** Paths of net, ipc or uts namespace files that the child enters before it runs the program. */
  readonly joinNamespaces?: readonly string[];
  /** What the child may do, for a program of davit's own. */
  readonly confinement?: Confinement;
  /** cgroup.procs files: the child enters these cgroups before it runs the program. */
  readonly cgroupProcsPaths?: readonly string[];
}

/** What a process may do: native/confine.c has the lists, docs/security.md the table. */
export type Confinement = keyof typeof confinements;

/** How a process ended: exactly one is set, or neither when another process collected the exit status. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: number | null;
}

/** A child that runs. The descriptors are this process's ends of the pipes, -1 where there is none. */
export interface StartedChild {
  readonly pid: number;
  readonly watch: NativeWatch;
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** A process that the addon watches by pidfd. */
export interface WatchedProcess {
  readonly pid: number;
  readonly watch: NativeWatch;
}

type OnExit = (code: number, signal: number) => void;

/** As in native/spawn.c: `numbers` is stdin, stdout, stderr, flags, extra descriptors... */
type SpawnArguments = readonly [
  file: string,
  argv: readonly string[],
  env: readonly string[],
  cwd: string | null,
  numbers: readonly number[],
  namespaces: readonly string[],
  cgroups: readonly string[],
  onExit: OnExit,
];

interface Calls {
  spawn(...args: SpawnArguments): StartedChild;
  spawnInPool(...args: SpawnArguments): Promise<StartedChild>;
  watchProcess(pid: number, onExit: OnExit): NativeWatch;
  watchSignal(watch: NativeWatch, signal: number): boolean;
  watchUnref(watch: NativeWatch): void;
  releaseMemory(): void;
  preferThread(nice: number, sliceNs: number): boolean;
  sealedCopy(path: string, limitBytes: number): number;
  exitNow(code: number): never;
  landlockVersion(): number;
  rootSockets(): readonly [number, number];
  enterOpenRoot(fd: number, isSocket: boolean): void;
  sealProcess(kind: number): void;
}

const calls = (): Calls => addon() as Calls;

// As in native/confine.h.
const confinements = { unpacker: 1, packer: 2, "archive-reader": 3, nobody: 4 } as const;

// As in native/spawn.c: the flags, and what stands for a descriptor.
const flags = { newSession: 1, newPidNamespace: 2 } as const;
const confinementShift = 8;
const stdioNumbers = { null: -1, pipe: -2, asStdout: -3 } as const;

/**
 * main; blocks until the child's execve, 0.1 to 0.3 ms. `path` is the program's file. ENOENT, EACCES and ENOEXEC
 * are about that file, EAGAIN is a process limit; open, setns and write fail for namespaces and cgroups.
 */
export function spawn(
  path: string,
  options: SpawnOptions,
  onExit: (exit: ChildExit) => void,
): StartedChild {
  const args = spawnArguments(path, options, onExit);
  return callNative(() => calls().spawn(...args), `start "${options.file}"`);
}

/** pool. Like {@link spawn}, for a child that enters a cgroup: on v1 that can wait 10 ms for the kernel. */
export async function spawnInPool(
  path: string,
  options: SpawnOptions,
  onExit: (exit: ChildExit) => void,
): Promise<StartedChild> {
  const args = spawnArguments(path, options, onExit);
  try {
    return await calls().spawnInPool(...args);
  } catch (cause) {
    throw nativeError(cause, `start "${options.file}"`);
  }
}

/** main. ESRCH: there is no such process. EINVAL: the id is that of a thread. */
export function watchProcess(pid: number, onExit: () => void): WatchedProcess {
  const watch = callNative(() => calls().watchProcess(pid, onExit), `watch process ${pid}`);
  return { pid, watch };
}

/** main. False when the process is gone (ESRCH). EINVAL: there is no such signal. Signal 0 sends nothing. */
export function signalProcess({ pid, watch }: WatchedProcess, signal: number): boolean {
  const doing = `send signal ${signal} to process ${pid}`;
  return callNative(() => calls().watchSignal(watch, signal), doing);
}

/** main. The watch no longer keeps this process running. */
export function unrefWatch({ watch }: Pick<WatchedProcess, "watch">): void {
  calls().watchUnref(watch);
}

/** main, 1 to 3 ms. Gives free memory of malloc and pages of Node.js's code back to the kernel. Never fails. */
export function releasePages(): void {
  calls().releaseMemory();
}

/**
 * main. Changes the scheduling of the calling thread, not of its children. False when this process may not do
 * that, or when its scheduling is not the default one.
 */
export function preferThread(options: {
  readonly nice: number;
  readonly sliceNs: number;
}): boolean {
  return calls().preferThread(options.nice, options.sliceNs);
}

/**
 * main, 0.3 ms for 600 KB. A descriptor of a sealed copy of a program in memory; undefined for a file that is not
 * an ELF program or is larger than the limit. ENOMEM and others: the copy cannot be made.
 */
export function sealedCopy(path: string, limitBytes: number): number | undefined {
  const fd = callNative(() => calls().sealedCopy(path, limitBytes));
  return fd < 0 ? undefined : fd;
}

/**
 * Ends this process at once (_exit(2)). process.exit() waits for the threads of libuv's pool, and a thread
 * that hangs in the kernel, for example on a dead network file system, would keep the process forever. Nothing is
 * flushed and no exit listener runs: the caller has closed everything before.
 */
export function exitNow(code: number): never {
  return calls().exitNow(code);
}

/** main. The version of Landlock's interface (landlock(7)); 0 where the kernel has none, or does not use it. */
export function landlockVersion(): number {
  return calls().landlockVersion();
}

/**
 * pool. A descriptor of a root for a process: a mount of the directory without a name, or of an empty file system.
 * Read-only, it has what is mounted below the directory, too.
 */
export async function openRoot(
  directory: string | null,
  { readOnly }: { readonly readOnly: boolean },
): Promise<number> {
  const [fd = -1] = await runNumbersJob("openRoot", [directory], [readOnly ? 1 : 0]);
  return fd;
}

/** pool. A descriptor of a device whose owner and mode cannot be changed by it: it is on a read-only mount of its own. */
export async function openSafeDevice(path: string): Promise<number> {
  const [fd = -1] = await runNumbersJob("openSafeDevice", [path], []);
  return fd;
}

/** pool. Sends such a root of a directory, which can be written to, to the process at the other end. EPIPE: it has ended. */
export async function sendRoot(socket: number, directory: string): Promise<void> {
  await runJob("sendRoot", [directory], [0, socket]);
}

/** main. Two connected sockets: for {@link sendRoot}, and for the process that receives. */
export function rootSockets(): readonly [number, number] {
  return callNative(() => calls().rootSockets(), "connect a process");
}

/** main; waits for a message. Makes the root, or the next one of a socket, that of this process (chroot(2)). */
export function enterOpenRoot(fd: number, kind: "root" | "socket"): void {
  callNative(() => calls().enterOpenRoot(fd, kind === "socket"), "enter root");
}

/** main. All threads lose the system calls that a program of this kind needs only at its start. */
export function sealProcess(kind: Confinement): void {
  callNative(() => calls().sealProcess(confinements[kind]), "limit system calls");
}

function spawnArguments(
  path: string,
  options: SpawnOptions,
  onExit: (exit: ChildExit) => void,
): SpawnArguments {
  const flagBits =
    (options.newSession === true ? flags.newSession : 0) |
    (options.newPidNamespace === true ? flags.newPidNamespace : 0) |
    (options.confinement === undefined ? 0 : confinements[options.confinement] << confinementShift);
  const { stdin, stdout, stderr, extraFds = [] } = options;
  return [
    path,
    [options.name ?? options.file, ...(options.args ?? [])],
    Object.entries(options.env).map(([name, value]) => `${name}=${value}`),
    options.cwd ?? null,
    [
      ...[stdin, stdout, stderr].map(stdioNumber),
      flagBits,
      ...extraFds.map((fd) => (fd === "stdout" ? stdioNumbers.asStdout : checkedFd(fd))),
    ],
    options.joinNamespaces ?? [],
    options.cgroupProcsPaths ?? [],
    (code, signal) => onExit({ code: code < 0 ? null : code, signal: signal < 0 ? null : signal }),
  ];
}

function stdioNumber(stdio: ChildStdio = "null"): number {
  return typeof stdio === "number" ? checkedFd(stdio) : stdioNumbers[stdio];
}

/** A negative number would mean something else to the addon. */
function checkedFd(fd: number): number {
  if (Number.isInteger(fd) && fd >= 0) return fd;
  throw new RuntimeError(
    "invalid-argument",
    `pass descriptor to a child: it must be a number from 0; it is ${fd}`,
  );
}
