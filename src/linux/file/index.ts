/**
 * Files: what node:fs cannot do, or cannot do safely where a container controls a path
 * (openat2 in a root, trees of any depth, extended attributes), and several steps in one job of the thread pool.
 */
export {
  beginProject,
  beginWriteOut,
  bindInRoot,
  copyAttributes,
  copyInRoot,
  endProject,
  enforcesProjects,
  changeDirectory,
  type FileAttributes,
  type FileTime,
  getXattrs,
  makeFile,
  makeNode,
  openLocked,
  preparePipe,
  projectsOf,
  projectUsage,
  readFiles,
  readFileInNamespaces,
  readFilesInNamespace,
  readWords,
  relabel,
  setAttributes,
  setXattr,
  syncFileSystem,
  xattrNames,
} from "./native.ts";
export { deviceNumbers } from "./device-numbers.ts";
export { type FileLock, lockFile } from "./file-lock.ts";
export { type FileOwner, type FileStep, runFileSteps, stepsDone } from "./file-steps.ts";
export { type FileIdentity, LogDirectory, type LogDirectoryOptions } from "./log-directory.ts";
export { type LogLine, parseLogLine } from "./log-line.ts";
export { makeDirectories } from "./make-directories.ts";
export { type LogFile, logFileAt, readLog, type ReadLogOptions } from "./read-log.ts";
export { openRegular, readRegular } from "./regular-file.ts";
export { diskUsage, removeTree, removeTrees, type TreeUsage } from "./trees.ts";
export { pathInRoot, readFilesInRoot } from "./in-root.ts";
export { enableVerity, measureVerity } from "./verity.ts";
