import type { OciProcess } from "../../../core/oci/index.ts";
import {
  type Child,
  execArguments,
  type ExecPlan,
  execProgramCopy,
  openSafeDevice,
  spawnChildInPool,
} from "../../../linux/process/index.ts";
import { execProgram, runtimeEnv, runtimeOptions } from "../runtime-command.ts";
import { type DirectContainer, directPlan, environmentObject } from "./direct.ts";

/** The container that a command is run in. */
export interface ExecTarget {
  readonly id: string;
  readonly runtimePath: string;
  readonly runtimeRoot: string;
  readonly cgroupPath: string;
  /** It has no PID namespace of its own: see {@link Command.endBackground}. */
  readonly hostPids: boolean;
}

/** The command's own streams. Its stderr is always a pipe: the runtime writes its errors there. */
export interface CommandIo {
  readonly stdin: "null" | "pipe";
  readonly stdout: "null" | "pipe";
  /** Path of the socket that receives the command's terminal. */
  readonly consoleSocket?: string;
}

/** The files of a command, and its cgroup. */
export interface CommandFiles {
  readonly specFile: string;
  readonly pidFile: string;
  /** The command's own cgroup, on v2. */
  readonly group: string | undefined;
}

/** A command that davit's own program runs. */
export interface DirectCommand {
  readonly plan: ExecPlan;
  readonly env: Readonly<Record<string, string>>;
}

/** Undefined for a command that only the runtime runs. */
export function directCommand(
  container: DirectContainer,
  spec: OciProcess,
  files: { readonly pidFile: string; readonly groupDir: string | undefined },
): DirectCommand | undefined {
  const env = environmentObject(spec.env);
  const plan = directPlan(container, spec, files);
  return env === undefined || plan === undefined ? undefined : { plan, env };
}

let nullDevice: Promise<"null" | number> | undefined;

/**
 * What is /dev/null for a command of an OCI runtime. The runtime passes on what it gets, or even makes the command's user its
 * owner, and a command that changes the mode of the node's own takes it from the whole node. Before Linux 5.12 it is the
 * node's own.
 */
function nullForCommands(): Promise<"null" | number> {
  nullDevice ??= openSafeDevice("/dev/null").catch(() => "null" as const);
  return nullDevice;
}

/** Opens what commands need, while the files of this daemon's version are there: an upgrade replaces them. */
export function keepPrograms(): void {
  execProgramCopy();
  void nullForCommands();
}

/** Starts the process that runs the command and ends with it. */
export async function startCommand(
  target: ExecTarget,
  files: CommandFiles,
  io: CommandIo,
  direct: DirectCommand | undefined,
): Promise<Child> {
  if (direct !== undefined) {
    return await spawnChildInPool({
      file: execProgramCopy(),
      name: "davit-exec",
      args: execArguments(direct.plan),
      env: direct.env,
      newSession: true,
      stdin: io.stdin,
      stdout: io.stdout,
      stderr: "pipe",
    });
  }
  const subgroup = files.group?.slice(target.cgroupPath.length + 1);
  const args = [
    ...["--process", files.specFile],
    ...(subgroup === undefined ? [] : ["--cgroup", subgroup]),
    ...(io.consoleSocket === undefined ? [] : ["--console-socket", io.consoleSocket]),
    target.id,
  ];
  const options = runtimeOptions(target.runtimeRoot, target.cgroupPath);
  const device = await nullForCommands();
  return await spawnChildInPool({
    ...execProgram(target.runtimePath, options, { pidFile: files.pidFile, args }),
    env: runtimeEnv,
    newSession: true,
    stdin: io.stdin === "null" ? device : io.stdin,
    stdout: io.stdout === "null" ? device : io.stdout,
    stderr: "pipe",
  });
}
