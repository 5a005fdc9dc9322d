/**
 * Processes: start them (`child.ts`, `run.ts`), refer to them by pidfd (`process-ref.ts`), wait for them and
 * end them. The only directory that starts processes. Every child is reaped by its pid.
 */
export { type Child, findProgram, spawnChild, spawnChildInPool } from "./child.ts";
export {
  environmentOf,
  type FoundProcess,
  findByCommandLine,
  findByDirectory,
  findByEnvironment,
} from "./command-lines.ts";
export {
  enterConfinement,
  enterNextRoot,
  RootSender,
  sealUnpacker,
} from "./confinement.ts";
export { execArguments, execDeclined, type ExecPlan } from "./exec-program.ts";
export { releaseFreeMemory, releaseMemory } from "./memory.ts";
export {
  type ChildExit,
  type ChildStdio,
  type Confinement,
  exitNow,
  landlockVersion,
  type SpawnOptions,
  openSafeDevice,
} from "./native.ts";
export {
  findOwnProgram,
  keepText,
  type OwnProgram,
  type OwnProgramLimits,
  type OwnProgramStreams,
  startOwnProgram,
} from "./own-program.ts";
export { openProcess, type ProcessRef, processStartTime } from "./process-ref.ts";
export { isDescendant, killProcessTree, killSession } from "./process-tree.ts";
export { envProgramPath, monitorPath } from "./programs.ts";
export { type RunOptions, type RunResult, run } from "./run.ts";
export { preferEventLoop } from "./schedule.ts";
export {
  execProgramCopy,
  holderProgram,
  monitorProgram,
  sealedProgram,
  waiterProgram,
} from "./sealed-program.ts";
export { SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM } from "./signals.ts";
