/**
 * The host's kernel: the only folder that starts processes, mounts and enters namespaces. It
 * imports `base` alone, and everything that needs more than node:fs goes through `native.ts` to the
 * addon in `native/`. Start at `child.ts` for processes, `namespaces.ts` and `mounts.ts` for what a
 * sandbox is made of, `cgroup/` for limits.
 */
import type { Socket } from "node:net";

export { errnoCode, SystemError } from "./system-error.ts";

export type ChildInput = "null" | "pipe" | number;
export type ChildOutput = "null" | "pipe" | number;

export interface SpawnOptions {
  readonly file: string;
  readonly args?: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: ChildInput;
  readonly stdout?: ChildOutput;
  readonly stderr?: ChildOutput;
  readonly extraFds?: readonly number[];
  readonly newSession?: boolean;
  readonly newPidNamespace?: boolean;
  readonly joinNamespaces?: readonly string[];
  readonly cgroupProcsPaths?: readonly string[];
}
export interface ChildExit {
  readonly code: number | null;
  readonly signal: number | null;
}
export interface Child {
  readonly pid: number;
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly exited: Promise<ChildExit>;
  kill(signal: number): void;
}
export interface RunOptions extends Omit<SpawnOptions, "stdin" | "stdout" | "stderr"> {
  readonly input?: Buffer | string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly maxOutputBytes?: number;
  readonly killGroup?: boolean;
}
export interface RunResult extends ChildExit {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}
export interface ProcessRef extends Disposable {
  readonly pid: number;
  readonly startTime: bigint;
  readonly exited: Promise<void>;
  kill(signal: number): void;
  close(): void;
}
export interface NamespacePins {
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
  readonly hostname?: string;
}
export interface BindOptions {
  readonly private?: boolean;
  readonly readonly?: boolean;
  readonly recursive?: boolean;
}
export interface TmpfsOptions {
  readonly sizeBytes: number;
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
}
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  readonly device: string;
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  readonly propagation: readonly string[];
  readonly fsType: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}
export interface FileLock extends Disposable {
  readonly path: string;
}
export interface CgroupHierarchy {
  readonly path: string;
  readonly controllers: readonly string[];
}
export type CgroupLayout =
  | { readonly version: "v2"; readonly root: string; readonly controllers: readonly string[] }
  | {
      readonly version: "v1";
      readonly hierarchies: readonly CgroupHierarchy[];
      readonly ownedByV2: readonly string[];
      readonly advice: string | undefined;
    };
export interface CgroupResources {
  readonly cpuShares?: bigint;
  readonly cpuQuota?: bigint;
  readonly cpuPeriod?: bigint;
  readonly memoryLimitBytes?: bigint;
  readonly memorySwapLimitBytes?: bigint;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limitBytes: bigint }[];
  readonly unified?: Readonly<Record<string, string>>;
  readonly pids?: bigint;
}

const todo = (): never => {
  throw new Error("not made yet");
};

/** Throws SystemError naming the file when it cannot be executed. */
export const spawnChild: (options: SpawnOptions) => Child = todo;
export const run: (options: RunOptions) => Promise<RunResult> = todo;
export const openProcess: (pid: number, startTime?: bigint) => ProcessRef | undefined = todo;
export const processStartTime: (pid: number) => bigint | undefined = todo;
export const pinNamespaces: (pins: NamespacePins) => Promise<void> = todo;
export const unpinNamespace: (path: string) => Promise<void> = todo;
export const isNamespaceMounted: (path: string) => boolean = todo;
export const namespaceInode: (path: string) => bigint | undefined = todo;
export const bindMount: (source: string, target: string, options?: BindOptions) => Promise<void> =
  todo;
export const mountTmpfs: (target: string, options: TmpfsOptions) => Promise<void> = todo;
export const unmount: (target: string) => Promise<void> = todo;
export const makePrivateBind: (dir: string) => Promise<void> = todo;
export const listMounts: () => Promise<readonly MountEntry[]> = todo;
export const watchMounts: (onChange: () => void) => Disposable = todo;
export const writeSysctls: (
  namespaces: { readonly net?: string; readonly ipc?: string },
  entries: readonly (readonly [key: string, value: string])[],
) => Promise<void> = todo;
export const lockFile: (path: string) => FileLock | undefined = todo;
export const detectCgroups: () => CgroupLayout = todo;
/** Returns the directories it made, deepest last, for `removeCgroupDirs`. */
export const createCgroup: (layout: CgroupLayout, path: string) => Promise<readonly string[]> = todo;
/** Removes only the directories that `createCgroup` returned. */
export const removeCgroupDirs: (dirs: readonly string[]) => Promise<void> = todo;
export const removeCgroup: (layout: CgroupLayout, path: string) => Promise<void> = todo;
export const cgroupProcs: (layout: CgroupLayout, path: string) => Promise<readonly number[]> = todo;
export const cgroupProcsPaths: (layout: CgroupLayout, path: string) => readonly string[] = todo;
export const killCgroup: (
  layout: CgroupLayout,
  path: string,
  options?: { readonly signal?: number; readonly timeoutMs?: number },
) => Promise<void> = todo;
export const writeResources: (
  layout: CgroupLayout,
  path: string,
  resources: CgroupResources,
) => Promise<void> = todo;
export const holderPath: () => string = todo;
export const hostBootId: () => string = todo;
export const kernelRelease: () => string = todo;
export const findProgram: (name: string, searchPath: string) => string | undefined = todo;
