import { symlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../../base/errors.ts";
import { systemError } from "../../../base/system-error.ts";
import { endingStep } from "../../../core/operation/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { type Child, spawnChildInPool, waiterProgram } from "../../../linux/process/index.ts";
import type {
  MonitorDeps,
  MonitorRestore,
  MonitorStart,
  StartingMonitor,
} from "../container-monitor.ts";
import type { StateLayout } from "../state-layout.ts";
import { logName, logSource } from "./log-links.ts";
import {
  loggedMessage,
  programPath,
  runtimeProgram,
  runtimeEnv,
  runtimeMessage,
  runtimeStep,
} from "../runtime-command.ts";
import { parseSyncMessage, type SyncMessage } from "./sync-message.ts";

/** The longest directory before "/conmon-term.XXXXXX" that fits in a sockaddr_un (unix(7)). */
const longestConsoleDirectory = 85;

/**
 * Starts conmon for a bundle. conmon runs the OCI runtime's `create` or `restore`, reports its result by the
 * sync pipe, then writes the log, reaps the container's process and writes its exit code to
 * `<exits>/<id>` by rename before it ends.
 *
 * With `--sync` it is our child and not a daemon by double fork, so that its pid is known from the start.
 * It outlives us in a session of its own.
 *
 * NOTE(conmon): it writes a file `oom` to its cwd; with `--full-attach` its socket is
 * `<bundle>/attach`, however long that path is. There is no `--persist-dir`: conmon would write a copy
 * of the exit code there first, and end without the exit file when that disk is full.
 */
export async function startConmon(
  deps: MonitorDeps,
  options: MonitorStart,
): Promise<StartingMonitor> {
  const { paths, bundle } = options;
  const directory = paths.bundle(bundle.id);
  const runtimeLog = paths.file(bundle.id, "runtime.log");
  const args = [
    ...["--sync", "--full-attach", "--no-sync-log"],
    ...["--cid", bundle.id, "--cuuid", bundle.id, "--bundle", directory],
    ...runtimeArguments(options.runtimePath, bundle.terminal ? runtimeLog : undefined),
    `--runtime-arg=--root=${paths.runtimeRoot(options.runtimePath)}`,
    ...(isScope(bundle.cgroupPath) ? ["--runtime-arg=--systemd-cgroup"] : []),
    ...["--container-pidfile", paths.file(bundle.id, "pid")],
    ...["--exit-dir", paths.exits],
    ...["--log-path", options.logFd === undefined ? "none" : `k8s-file:${logName}`],
    ...(bundle.terminal ? ["--terminal"] : []),
    ...(bundle.stdin ? ["--stdin"] : []),
    ...(bundle.stdin && !bundle.stdinOnce ? ["--leave-stdin-open"] : []),
    ...restoreArguments(options.restore),
  ];
  if (options.logFd !== undefined) linkLog(paths, bundle.id);
  const verb = options.restore === undefined ? "create" : "restore";
  const end = runtimeStep(deps.onStep, verb, options.runtimePath);
  const child = await spawnChildInPool({
    file: programPath(deps.conmonPath),
    args,
    env: { ...runtimeEnv, ...consoleEnv(paths), ...options.restore?.env, _OCI_SYNCPIPE: "3" },
    cwd: directory,
    newSession: true,
    // conmon puts /dev/null over its first three descriptors before it runs anything.
    ...(options.logFd === undefined ? {} : { stdin: options.logFd }),
    stdout: "pipe",
    extraFds: ["stdout"],
    stderr: "pipe",
  });
  let isCreated = false;
  const answer = endingStep(end, readAnswer(child, verb, runtimeLog)).finally(() => {
    isCreated = true;
  });
  answer.catch(() => undefined);
  deps.expectMigration?.(() => isCreated);
  return { child, answer };
}

function restoreArguments(restore: MonitorRestore | undefined): readonly string[] {
  if (restore === undefined) return [];
  return [
    "--restore",
    restore.images,
    ...restore.options.map((option) => `--runtime-opt=${option}`),
  ];
}

function linkLog(paths: StateLayout, id: string): void {
  const link = paths.file(id, "cri-log");
  try {
    symlinkSync(logSource, link);
  } catch (cause) {
    throw systemError(`make link "${link}" for conmon`, cause);
  }
}

/**
 * conmon's arguments for the OCI runtime. `log` is given with a terminal.
 *
 * NOTE(conmon): with a terminal the runtime's stderr is /dev/null, and conmon does not report why it
 * failed: only the runtime's own log does. And conmon ends as soon as the console socket is closed,
 * and with it, by PR_SET_PDEATHSIG, the process that it started. So that process is a waiter with the runtime as its
 * child, which lives long enough to write its log.
 */
function runtimeArguments(runtimePath: string, log: string | undefined): readonly string[] {
  const program = runtimeProgram(runtimePath);
  if (log === undefined) return ["--runtime", program];
  const words = ["-", program, `--log=${log}`, "--log-format=json"];
  return ["--runtime", waiterProgram(), ...words.map((word) => `--runtime-arg=${word}`)];
}

/**
 * Where conmon creates its console socket: in our state. If that path is too long, in the bundle, which is its working
 * directory and the OCI runtime's. Never in /tmp, where a container may get hold of the terminal.
 */
function consoleEnv(paths: StateLayout): Readonly<Record<string, string>> {
  const fits = Buffer.byteLength(paths.consoles) <= longestConsoleDirectory;
  return { TMPDIR: fits ? paths.consoles : "." };
}

async function readAnswer(child: Child, verb: string, runtimeLog: string): Promise<number> {
  const errors = textOf(child.stderr);
  let message: SyncMessage | undefined;
  try {
    const line = await firstLine(child.stdout);
    if (line !== "") message = parseSyncMessage(line);
  } finally {
    child.stdout?.destroy();
  }
  if (message === undefined) {
    const text = await errors;
    const logged = text === "" ? await messageInLog(runtimeLog) : "";
    if (logged !== "") throw new RuntimeError("unknown", `OCI runtime ${verb}: ${logged}`);
    throw new RuntimeError(
      "unknown",
      `start conmon: ${text === "" ? "it ended before the OCI runtime had created a process" : text}`,
    );
  }
  child.stderr?.destroy();
  if (message.pid > 0) return message.pid;
  throw new RuntimeError(
    "unknown",
    `OCI runtime ${verb}: ${runtimeMessage(message.message) || "failed"}`,
  );
}

/** How long a runtime that has failed may take to write its log. */
const logMs = 1_000;
const pollMs = 10;

/** The errors in the OCI runtime's log, or "". The runtime may end a moment after conmon. */
async function messageInLog(file: string): Promise<string> {
  for (const end = performance.now() + logMs; ; ) {
    const message = loggedMessage(await readFile(file, "utf8").catch(() => ""));
    if (message !== "" || performance.now() >= end) return message;
    await delay(pollMs);
  }
}

/** The text up to the first newline, or all of it. conmon keeps its end of the pipe open for its whole life. */
async function firstLine(stream: Readable | undefined): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) {
    text += String(chunk);
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  return text;
}

async function textOf(stream: Readable | undefined): Promise<string> {
  let text = "";
  try {
    for await (const chunk of stream ?? []) text += String(chunk);
  } catch {
    // The stream was destroyed, as it is not needed any more.
  }
  return text.trim();
}
