import { basename } from "node:path";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import { isScope } from "../../core/sandbox/index.ts";
import {
  findProgram,
  type RunResult,
  run,
  sealedProgram,
  waiterProgram,
} from "../../linux/process/index.ts";

/** How long a runtime may take to read its own files. */
const stateMs = 5_000;

/** The environment of conmon and of OCI runtimes: nothing of ours reaches a container. */
export const runtimeEnv: Readonly<Record<string, string>> = {
  PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
};

/** The path of a program that is named by path or by name on PATH; `not-found` without one. */
export function programPath(name: string): string {
  const path = findProgram(name, runtimeEnv["PATH"] ?? "");
  if (path !== undefined) return path;
  throw new RuntimeError(
    "not-found",
    `find program "${name}": it is not on PATH "${runtimeEnv["PATH"] ?? ""}"; install it, or give its path`,
  );
}

/**
 * What to start for an OCI runtime. crun is started from a sealed copy (`sealedProgram`), but only
 * under its own name: as `krun` or `crun-wasm`, links to it, it takes its handler from that name.
 */
export function runtimeProgram(path: string): string {
  return basename(path) === "crun" ? sealedProgram(path) : path;
}

/**
 * The options before every verb. The manager of cgroups is cgroupfs when nothing is said; a scope was
 * made by systemd, and only systemd may change it.
 */
export function runtimeOptions(root: string, cgroupPath: string): readonly string[] {
  return ["--root", root, ...(isScope(cgroupPath) ? ["--systemd-cgroup"] : [])];
}

/**
 * What to start for `exec` with these arguments behind it: it has the command's stdin, stdout and
 * stderr, hands its terminal over, and ends with it, and with its exit code.
 *
 * crun does all that. Another runtime is told to leave once the command runs, and a small program
 * waits in its place. NOTE(runc): it hands a terminal over only if it need not wait; and where it waits, it
 * carries all streams through itself, does not end as long as anything that the command left behind
 * has them open, and kills a command that closes its stdin while more comes (SIGPIPE, passed on).
 */
export function execProgram(
  runtimePath: string,
  options: readonly string[],
  exec: { readonly pidFile: string; readonly args: readonly string[] },
): { readonly file: string; readonly args: readonly string[] } {
  const file = runtimeProgram(runtimePath);
  const args = ["--pid-file", exec.pidFile, ...exec.args];
  if (/^(crun|krun)(-|$)/.test(basename(runtimePath))) {
    return { file, args: [...options, "exec", ...args] };
  }
  const detached = [file, ...options, "exec", "--detach", ...args];
  return { file: waiterProgram(), args: [exec.pidFile, ...detached] };
}

/** A verb of an OCI runtime to run to its end. */
export interface RuntimeCall {
  readonly runtimePath: string;
  readonly root: string;
  /** The container's. */
  readonly cgroupPath: string;
  /** The verb with its arguments. */
  readonly args: readonly string[];
  readonly input?: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs a verb of an OCI runtime. Rejects with the runtime's own words when it fails, and by timeout
 * and signal; the runtime is then killed. crun and runc take the same command line here.
 */
export async function callRuntime(call: RuntimeCall): Promise<void> {
  const result = await run({
    file: runtimeProgram(call.runtimePath),
    args: [...runtimeOptions(call.root, call.cgroupPath), ...call.args],
    env: runtimeEnv,
    timeoutMs: call.timeoutMs,
    killGroup: true,
    ...(call.input === undefined ? {} : { input: call.input }),
    ...(call.signal === undefined ? {} : { signal: call.signal }),
  });
  if (result.code === 0) return;
  throw runtimeFailure(call.args[0] ?? "", result);
}

/**
 * The status of a container as its OCI runtime tells it (runtime-spec, runtime.md, State): creating,
 * created, running, stopped. Undefined when the runtime does not know it.
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

/** The error of a runtime that failed. Its kind is `unknown`: runtimes tell failures by words alone. */
export function runtimeFailure(
  verb: string,
  result: Pick<RunResult, "code" | "signal"> & { readonly stderr: Uint8Array },
): RuntimeError {
  const said = runtimeWords(new TextDecoder().decode(result.stderr));
  const end =
    result.signal === null ? `exit code ${result.code ?? "?"}` : `signal ${result.signal}`;
  return new RuntimeError("unknown", `OCI runtime ${verb}: ${said === "" ? end : said}`);
}

/**
 * What a runtime said, as one line. crun prints the message alone when stderr is no terminal; runc
 * prints logfmt lines, of which `msg` is the message. Beside an error its warnings are left out: they
 * are of the clean-up ("cannot toggle freezer") and would hide why it failed.
 */
export function runtimeWords(stderr: string): string {
  const lines = stderr.split("\n").map((line) => ({
    isWarning: /\blevel=(?:warning|info|debug)\b/.test(line),
    text: unquoted(/\bmsg=("(?:[^"\\]|\\.)*")/.exec(line)?.[1]) ?? line.trim(),
  }));
  return joinedWords(lines);
}

/** What a runtime wrote to the file of `--log` with `--log-format json`, as {@link runtimeWords}. */
export function loggedWords(log: string): string {
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
  return joinedWords(lines);
}

function joinedWords(lines: readonly { isWarning: boolean; text: string }[]): string {
  const said = lines.filter(({ text }) => text !== "");
  const errors = said.filter(({ isWarning }) => !isWarning);
  return (errors.length > 0 ? errors : said).map(({ text }) => text).join("; ");
}

function unquoted(quoted: string | undefined): string | undefined {
  if (quoted === undefined) return undefined;
  try {
    return String(JSON.parse(quoted));
  } catch {
    return quoted.slice(1, -1);
  }
}

/** A line of JSON that conmon wrote to its sync pipe. */
export interface SyncMessage {
  /** -1: the runtime failed. */
  readonly pid: number;
  readonly message: string;
}

/** Reads conmon's answer (`{"pid": 12}` or `{"pid": -1, "message": "..."}`); throws `internal` for another. */
export function parseSyncMessage(line: string): SyncMessage {
  try {
    const json = JSON.parse(line) as {
      readonly pid?: unknown;
      readonly message?: unknown;
    } | null;
    if (typeof json?.pid === "number" && Number.isInteger(json.pid)) {
      return { pid: json.pid, message: typeof json.message === "string" ? json.message : "" };
    }
  } catch (cause) {
    // conmon 2.1 escapes with rules of its own; a message that is not JSON is still worth reading.
    const broken = /^\{"pid": (-?\d+), "message": "(.*)"\}$/s.exec(line);
    if (broken !== null) return { pid: Number(broken[1]), message: broken[2] ?? "" };
    throw new RuntimeError("internal", `read answer of conmon: ${messageOf(cause)}: "${line}"`);
  }
  throw new RuntimeError("internal", `read answer of conmon: want a pid, got "${line}"`);
}
