import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { within } from "../base/wait.ts";
import type { ExecResult } from "../core/container/index.ts";
import type { Operation } from "../core/operation/index.ts";
import type { ClientStreams, ExecEnd } from "../core/streaming/index.ts";
import { killSession } from "../linux/process/index.ts";
import { CappedOutput } from "./capped-output.ts";
import { ProgramFailure } from "./program-failure.ts";
import { drain, finish, type Pump } from "./pump.ts";

/** Time limits of a command in a container, the same for every runtime. Milliseconds. */
export const execLimits = {
  /** How long output is read after the command's end: a background process may hold the stream open. */
  drainMs: 250,
  /** How long killed processes may take to end. */
  killMs: 1_000,
  /** How long a command may take to end by itself after SIGHUP, as shells do. */
  hangUpMs: 500,
} as const;

const killAttempts = 2;
/** How often the processes of a session are listed and killed, until none is left. */
const killRounds = 50;
const betweenRoundsMs = 5;
/** When a container ends, its commands end with it, and their end may be seen before the container's. */
const containerEndMs = 100;

/** A command in a container, as a driver runs it. */
export interface ExecCommand {
  /** Waits for the command's end. Rejects when the operation is aborted; the command continues then. */
  ended(): Promise<void>;
  /**
   * The exit code of a command that has ended. Rejects for a command that never ran; `stderr` is the output
   * that explains why, where the runtime writes its own errors there.
   */
  exitCode(stderr: Uint8Array): Promise<number>;
  /** Kills the command and everything that it started. Never rejects. */
  kill(): Promise<void>;
  /** Sends SIGHUP to a command whose client is gone, and kills what has not ended soon after. Never rejects. */
  hangUp(): Promise<void>;
}

/** Runs a command to its end and returns its output; see ContainerRuntime.execSync. */
export async function collectOutput(
  command: ExecCommand,
  streams: { readonly stdout: Readable | undefined; readonly stderr: Readable | undefined },
  operation: Operation,
): Promise<ExecResult> {
  const stdout = new CappedOutput(streams.stdout);
  const stderr = new CappedOutput(streams.stderr);
  try {
    await command.ended();
    await operation.enter("drain-output");
    await within(Promise.all([stdout.ended, stderr.ended]), execLimits.drainMs);
    const exitCode = await command.exitCode(stderr.bytes());
    return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode };
  } catch (error) {
    await command.kill();
    throw error;
  }
}

/** Runs a command to its end while `pumps` carry its output to a client; see ContainerRuntime.exec. */
export async function streamOutput(
  command: ExecCommand,
  output: { readonly pumps: readonly Pump[]; readonly streams: ClientStreams },
  operation: Operation,
): Promise<ExecEnd> {
  const { pumps, streams } = output;
  try {
    await command.ended();
    await operation.enter("drain-output");
    await drain(pumps, execLimits.drainMs, operation.signal);
    const withheld = Buffer.concat(pumps.map((pump) => pump.withheld));
    const exitCode = await command.exitCode(withheld);
    await finish([streams.stdout, streams.stderr], operation.signal);
    return { exitCode };
  } catch (error) {
    await command.hangUp();
    throw error;
  }
}

/** Calls `end` to end a command, and once more if that fails while the command runs. Never rejects. */
export async function endCommand(
  command: { readonly name: string; readonly runs: () => boolean },
  deps: { readonly operation: Operation; readonly log: Logger },
  end: () => Promise<void>,
): Promise<void> {
  for (let attempt = 0; command.runs() && attempt < killAttempts; attempt++) {
    try {
      await deps.operation.undoing("kill-command");
      await end();
      return;
    } catch (error) {
      deps.log.warn(`failed to end ${command.name}: ${messageOf(error)}`);
    }
  }
}

/** Kills those of `candidates` that are in the session of a command, which may have ended itself. */
export async function endSession(
  leader: number,
  candidates: () => Promise<readonly number[]>,
): Promise<void> {
  // A process that forked while they were listed has left its child behind.
  for (let round = 0; round < killRounds; round++) {
    if (killSession(leader, await candidates()) === 0) return;
    await delay(betweenRoundsMs);
  }
}

/** What says whether a container has ended. */
export interface EndingContainer {
  /** Resolves when its process has ended. */
  readonly ended: Promise<unknown>;
  /** True once all of its processes were to be killed. */
  readonly killed: boolean;
}

/**
 * Runs `work` on a container. A runtime whose container is killed meanwhile finds the cgroup, the namespaces or the
 * command gone and reports that; the error is then `failed-precondition`, as the container has ended. A program that
 * cannot be executed is the failure of a container that runs: its end is not waited for.
 */
export async function explainEnd<T>(
  container: EndingContainer,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!["unknown", "not-found"].includes(kindOf(cause))) throw cause;
    const waitMs = cause instanceof ProgramFailure ? 0 : containerEndMs;
    if (!container.killed && !(await within(container.ended, waitMs))) throw cause;
    const text = `${doing}: the container has ended meanwhile`;
    throw new RuntimeError("failed-precondition", text, { cause });
  }
}
