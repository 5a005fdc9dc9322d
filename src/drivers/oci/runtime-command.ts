import { basename } from "node:path";

import { RuntimeError } from "../../base/errors.ts";
import type { StepEnd, StepObserver } from "../../core/operation/index.ts";
import { isScope } from "../../core/sandbox/index.ts";
import {
  findProgram,
  type RunResult,
  run,
  sealedProgram,
  waiterProgram,
} from "../../linux/process/index.ts";

/** How long a runtime may take for `state`. */
const stateMs = 5_000;

/** The environment of monitors and of OCI runtimes: no variable of ours reaches a container. */
export const runtimeEnv: Readonly<Record<string, string>> = {
  PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
};

/** The path of a program, given by path or by name on PATH; `not-found` if there is none. */
export function programPath(name: string): string {
  const path = findProgram(name, runtimeEnv["PATH"] ?? "");
  if (path !== undefined) return path;
  throw new RuntimeError(
    "not-found",
    `find program "${name}": it is not on PATH "${runtimeEnv["PATH"] ?? ""}"; install it, or give its path`,
  );
}

/**
 * The program to start for an OCI runtime. crun is started from a sealed copy (`sealedProgram`), but only
 * under its own name: by the links `krun` and `crun-wasm`, the name selects crun's handler.
 */
export function runtimeProgram(path: string): string {
  return basename(path) === "crun" ? sealedProgram(path) : path;
}

/**
 * The options before every verb. The default cgroup driver is cgroupfs; a scope was
 * created by systemd, and only systemd may change it.
 */
export function runtimeOptions(root: string, cgroupPath: string): readonly string[] {
  return ["--root", root, ...(isScope(cgroupPath) ? ["--systemd-cgroup"] : [])];
}

/** Whether a runtime is crun, also by the name of one of its handlers. */
export function isCrun(runtimePath: string): boolean {
  return /^(crun|krun)(-|$)/.test(basename(runtimePath));
}

/**
 * The program and arguments for `exec`: a process that has the command's stdin, stdout and
 * stderr, sends its terminal, and ends with the command and its exit code.
 *
 * crun does all that. Another runtime runs with `--detach`, and the waiter waits for the command
 * instead. NOTE(runc): it sends a terminal only with `--detach`; without, it
 * copies all streams, does not end while a background process of the command
 * has them open, and kills a command that closes its stdin while more input arrives (it forwards SIGPIPE).
 */
export function execProgram(
  runtimePath: string,
  options: readonly string[],
  exec: { readonly pidFile: string; readonly args: readonly string[] },
): { readonly file: string; readonly args: readonly string[] } {
  const file = runtimeProgram(runtimePath);
  const args = ["--pid-file", exec.pidFile, ...exec.args];
  if (isCrun(runtimePath)) {
    return { file, args: [...options, "exec", ...args] };
  }
  const detached = [file, ...options, "exec", "--detach", ...args];
  return { file: waiterProgram(), args: [exec.pidFile, ...detached] };
}

/** The step of a call of an OCI runtime. */
export function runtimeStep(
  onStep: StepObserver | undefined,
  verb: string,
  runtimePath: string,
): StepEnd | undefined {
  if (onStep === undefined) return undefined;
  const attributes = { "davit.runtime": basename(runtimePath), "davit.runtime.verb": verb };
  return onStep({ name: `OCI runtime ${verb}`, attributes });
}

/** A verb of an OCI runtime. */
export interface RuntimeCall {
  readonly runtimePath: string;
  readonly root: string;
  /** The container's cgroup. */
  readonly cgroupPath: string;
  /** The verb with its arguments. */
  readonly args: readonly string[];
  readonly input?: string;
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs a verb of an OCI runtime to its end. Rejects with the runtime's own message when it fails, and by timeout
 * and signal; the runtime is then killed. crun and runc have the same command line here.
 */
export async function callRuntime(call: RuntimeCall): Promise<void> {
  const result = await run({
    file: runtimeProgram(call.runtimePath),
    args: [...runtimeOptions(call.root, call.cgroupPath), ...call.args],
    env: { ...runtimeEnv, ...call.env },
    timeoutMs: call.timeoutMs,
    killGroup: true,
    ...(call.input === undefined ? {} : { input: call.input }),
    ...(call.signal === undefined ? {} : { signal: call.signal }),
  });
  if (result.code === 0) return;
  throw runtimeFailure(call.args[0] ?? "", result);
}

/**
 * The status of a container by its OCI runtime (runtime-spec, runtime.md, State): creating,
 * created, running, stopped. Undefined when the runtime does not know the container.
 */
export async function runtimeStatus(
  runtimePath: string,
  root: string,
  id: string,
): Promise<string | undefined> {
  const args = ["--root", root, "state", id];
  const result = await run({ file: runtimePath, args, env: runtimeEnv, timeoutMs: stateMs });
  if (result.code !== 0) return undefined;
  try {
    const { status } = JSON.parse(result.stdout.toString("utf8")) as { readonly status?: unknown };
    return typeof status === "string" ? status : undefined;
  } catch {
    return undefined;
  }
}

/** The error of a runtime that failed. Its kind is `unknown`: runtimes report failures as text only. */
export function runtimeFailure(
  verb: string,
  result: Pick<RunResult, "code" | "signal"> & { readonly stderr: Uint8Array },
): RuntimeError {
  const text = runtimeMessage(new TextDecoder().decode(result.stderr));
  const end =
    result.signal === null ? `exit code ${result.code ?? "?"}` : `signal ${result.signal}`;
  return new RuntimeError("unknown", `OCI runtime ${verb}: ${text === "" ? end : text}`);
}

/**
 * The message in a runtime's stderr, as one line. crun prints the message alone when stderr is not a terminal; runc
 * prints logfmt lines, of which `msg` is the message. If there is an error, warnings are omitted: they
 * come from the cleanup ("cannot toggle freezer") and would hide the reason.
 */
export function runtimeMessage(stderr: string): string {
  const lines = stderr.split("\n").map((line) => ({
    isWarning: /\blevel=(?:warning|info|debug)\b/.test(line),
    text: unquoted(/\bmsg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1]) ?? line.trim(),
  }));
  return joinMessages(lines);
}

/** Like {@link runtimeMessage}, for the file of `--log` with `--log-format json`. */
export function loggedMessage(log: string): string {
  const lines = log.split("\n").map((line) => {
    try {
      const { level, msg } = JSON.parse(line) as {
        readonly level?: unknown;
        readonly msg?: unknown;
      };
      return { isWarning: level !== "error", text: typeof msg === "string" ? msg : line };
    } catch {
      return { isWarning: false, text: line.trim() };
    }
  });
  return joinMessages(lines);
}

function joinMessages(lines: readonly { isWarning: boolean; text: string }[]): string {
  const messages = lines.filter(({ text }) => text !== "");
  const errors = messages.filter(({ isWarning }) => !isWarning);
  return (errors.length > 0 ? errors : messages).map(({ text }) => text).join("; ");
}

function unquoted(quoted: string | undefined): string | undefined {
  if (quoted === undefined) return undefined;
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted.slice(1, -1);
  }
}
