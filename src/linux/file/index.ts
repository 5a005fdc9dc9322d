/**
 * Files: what node:fs cannot do, or cannot do safely where a container decides what lies at a path
 * (openat2 in a root, trees of any depth, extended attributes), and several steps in one turn of the pool.
 */
export { copyAttributes, xattrNames } from "./attributes.ts";
export {
  enterRoot,
  type FileAttributes,
  type FileTime,
  makeNode,
  preparePipe,
  setAttributes,
  setXattr,
} from "./entries.ts";
export { type FileLock, lockFile } from "./file-lock.ts";
export { type FileOwner, type FileStep, runFileSteps, stepsDone } from "./file-steps.ts";
export { type FileIdentity, LogDirectory, type LogDirectoryOptions } from "./log-directory.ts";
export { CgroupFdCache, type CachedFiles } from "./held-files.ts";
export { readFiles, readFilesInNamespace } from "./read-files.ts";
export { openRegular, readRegular } from "./regular-file.ts";
export {
  diskUsage,
  relabel,
  removeTree,
  removeTrees,
  syncFileSystem,
  type TreeUsage,
} from "./trees.ts";
export { bindInRoot, copyInRoot, pathInRoot, readFilesInRoot } from "./in-root.ts";
