/**
 * The host's kernel: the only folder that starts processes, mounts and enters namespaces. It
 * imports `base` alone, and everything that needs more than node:fs goes through `native.ts` to the
 * addon in `native/`. Start at `child.ts` for processes, `namespaces.ts` and `mounts.ts` for what a
 * sandbox is made of, `cgroup/` for limits.
 */
export { copyAttributes, xattrNames } from "./attributes.ts";
export * from "./cgroup/index.ts";
export {
  type Child,
  type ChildExit,
  type ChildStdio,
  findProgram,
  type SpawnOptions,
  spawnChild,
  spawnChildInPool,
} from "./child.ts";
export {
  environmentOf,
  type FoundProcess,
  findByCommandLine,
  findByEnvironment,
} from "./command-lines.ts";
export { DescriptorStream } from "./descriptor-stream.ts";
export {
  enterRoot,
  type FileAttributes,
  type FileTime,
  makeNode,
  preparePipe,
  setAttributes,
  setXattr,
} from "./entries.ts";
export { describeFullDisk, DiskRoom, type DiskSpace } from "./disk-room.ts";
export { exitNow } from "./exit-now.ts";
export {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "./fifo.ts";
export { type FileLock, lockFile } from "./file-lock.ts";
export { type FileOwner, type FileStep, runFileSteps, stepsDone } from "./file-steps.ts";
export { hostBootId, isRunBySystemd, kernelRelease, systemdFolder } from "./host.ts";
export { type FileIdentity, LogDirectory, type LogDirectoryOptions } from "./log-directory.ts";
export { releaseFreeMemory, releaseMemory } from "./memory.ts";
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
export { NamespaceWatch } from "./namespace-watch.ts";
export {
  isNamespaceMounted,
  type NamespacePins,
  pinNamespaces,
  unpinNamespace,
  unpinNamespaces,
} from "./namespaces.ts";
export { envProgramPath } from "./native.ts";
export { notifyService } from "./notify.ts";
export { preferEventLoop } from "./schedule.ts";
export { holderProgram, sealedProgram, waiterProgram } from "./sealed-program.ts";
export { ConsoleSocket, connectLoopback, connectPackets } from "./sockets.ts";
export { mountOverlay, type OverlayOptions } from "./overlay.ts";
export { openProcess, type ProcessRef, processStartTime } from "./process-ref.ts";
export { killProcessTree, killSession } from "./process-tree.ts";
export { type DeviceNode, listDevices } from "./devices.ts";
export { FileHolder, type HeldFiles } from "./held-files.ts";
export { readFiles, readFilesInNamespace } from "./read-files.ts";
export { openRegular, readRegular } from "./regular-file.ts";
export { type RunOptions, type RunResult, run } from "./run.ts";
export { type SysctlNamespaces, writeSysctls } from "./sysctls.ts";
export { userNamespaceObstacle } from "./user-namespaces.ts";
export { errnoCode, SystemError, systemError } from "./system-error.ts";
export {
  diskUsage,
  relabel,
  removeTree,
  removeTrees,
  syncFileSystem,
  type TreeUsage,
} from "./trees.ts";
export { bindInRoot, copyInRoot, pathInRoot, readFilesInRoot } from "./in-root.ts";
