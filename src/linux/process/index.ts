/**
 * Processes: start them (`child.ts`, `run.ts`), hold them by pidfd (`process-ref.ts`), wait for them and
 * end them. The only directory that starts processes. Every child is reaped by its pid.
 */
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
export { exitNow } from "./exit-now.ts";
export { releaseFreeMemory, releaseMemory } from "./memory.ts";
export { envProgramPath } from "../native.ts";
export { preferEventLoop } from "./schedule.ts";
export { holderProgram, sealedProgram, waiterProgram } from "./sealed-program.ts";
export { openProcess, type ProcessRef, processStartTime } from "./process-ref.ts";
export { killProcessTree, killSession } from "./process-tree.ts";
export { type RunOptions, type RunResult, run } from "./run.ts";
export { SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM } from "./signals.ts";
