import { accessSync, constants } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { type CgroupLayout, expectCgroupMigration } from "../../../linux/cgroup/index.ts";
import { type Child, spawnChildInPool, waiterProgram } from "../../../linux/process/index.ts";
import { logName } from "./log-links.ts";
import type { StateLayout } from "../state-layout.ts";
import {
  loggedWords,
  parseSyncMessage,
  programPath,
  runtimeProgram,
  runtimeEnv,
  runtimeWords,
  type SyncMessage,
} from "../runtime-command.ts";

/** A conmon that makes its container now. */
export interface StartingMonitor {
  readonly child: Child;
  /** The pid of the container's process, which waits to be started; or the runtime's failure. */
  readonly answer: Promise<number>;
}

/** Says early what would fail the start of every container. */
export function warnWithoutMonitor(conmonPath: string, log: Logger): void {
  try {
    accessSync(programPath(conmonPath), constants.X_OK);
  } catch (error) {
    log.warn("no container can be started: install conmon, or set runtime.monitor_path", {
      error: messageOf(error),
    });
  }
}

/** The room that sockaddr_un leaves for a directory before "/conmon-term.XXXXXX" (unix(7)). */
const longestConsoleDirectory = 85;

/**
 * Starts conmon for a bundle. conmon runs the OCI runtime's `create`, tells how that went by the
 * sync pipe, then writes the log, reaps the container's process and writes its exit code to
 * `<exits>/<id>` by rename before it ends.
 *
 * `--sync` makes it our child rather than a daemon by double fork, so that its pid is known before
 * it does anything; it outlives us all the same, in a session of its own.
 *
 * NOTE(conmon): its cwd is where it leaves a file `oom`; with `--full-attach` its socket is
 * `<bundle>/attach`, however long that path is. There is no `--persist-dir`: conmon would write a copy
 * of the exit code there first, and end without the exit file when that disk is full.
 */
export async function startMonitor(options: {
  readonly conmonPath: string;
  readonly runtimePath: string;
  readonly cgroups: CgroupLayout;
  readonly places: StateLayout;
  readonly bundle: ContainerBundle;
  /** The open log; see log-links.ts. Nothing is logged without. */
  readonly logFd: number | undefined;
}): Promise<StartingMonitor> {
  const { places, bundle } = options;
  const directory = places.bundle(bundle.id);
  const runtimeLog = places.file(bundle.id, "runtime.log");
  const args = [
    ...["--sync", "--full-attach", "--no-sync-log"],
    ...["--cid", bundle.id, "--cuuid", bundle.id, "--bundle", directory],
    ...runtimeArguments(options.runtimePath, bundle.terminal ? runtimeLog : undefined),
    `--runtime-arg=--root=${places.runtimeRoot(options.runtimePath)}`,
    ...(isScope(bundle.cgroupPath) ? ["--runtime-arg=--systemd-cgroup"] : []),
    ...["--container-pidfile", places.file(bundle.id, "pid")],
    ...["--exit-dir", places.exits],
    ...["--log-path", options.logFd === undefined ? "none" : `k8s-file:${logName}`],
    ...(bundle.terminal ? ["--terminal"] : []),
    ...(bundle.stdin ? ["--stdin"] : []),
    ...(bundle.stdin && !bundle.stdinOnce ? ["--leave-stdin-open"] : []),
  ];
  const child = await spawnChildInPool({
    file: programPath(options.conmonPath),
    args,
    env: { ...runtimeEnv, ...consoleEnv(places), _OCI_SYNCPIPE: "3" },
    cwd: directory,
    newSession: true,
    // conmon puts /dev/null over its first three descriptors before it runs anything.
    ...(options.logFd === undefined ? {} : { stdin: options.logFd }),
    stdout: "pipe",
    extraFds: ["stdout"],
    stderr: "pipe",
  });
  let isOver = false;
  const answer = readAnswer(child, runtimeLog).finally(() => {
    isOver = true;
  });
  answer.catch(() => undefined);
  expectCgroupMigration(options.cgroups, () => isOver);
  return { child, answer };
}

/**
 * The OCI runtime and what it is told before all else. `log` is given with a terminal.
 *
 * NOTE(conmon): with a terminal the runtime's stderr is /dev/null, and conmon says nothing of why it
 * failed: that is in the runtime's own log alone. And conmon ends as soon as the console socket is closed,
 * and with it, by PR_SET_PDEATHSIG, the process that it started. The runtime is that one's child, so that it
 * still comes to write its log.
 */
function runtimeArguments(runtimePath: string, log: string | undefined): readonly string[] {
  const program = runtimeProgram(runtimePath);
  if (log === undefined) return ["--runtime", program];
  const words = ["-", program, `--log=${log}`, "--log-format=json"];
  return ["--runtime", waiterProgram(), ...words.map((word) => `--runtime-arg=${word}`)];
}

/**
 * Where conmon makes its console socket: in our state. If that path is too long, in its working directory and the
 * OCI runtime's, which is the bundle. Never in /tmp, where a container may have it handed the terminal.
 */
function consoleEnv(places: StateLayout): Readonly<Record<string, string>> {
  const fits = Buffer.byteLength(places.consoles) <= longestConsoleDirectory;
  return { TMPDIR: fits ? places.consoles : "." };
}

async function readAnswer(child: Child, runtimeLog: string): Promise<number> {
  const errors = textOf(child.stderr);
  let message: SyncMessage | undefined;
  try {
    const line = await firstLine(child.stdout);
    if (line !== "") message = parseSyncMessage(line);
  } finally {
    child.stdout?.destroy();
  }
  if (message === undefined) {
    const said = await errors;
    const logged = said === "" ? await wordsInLog(runtimeLog) : "";
    if (logged !== "") throw new RuntimeError("unknown", `OCI runtime create: ${logged}`);
    throw new RuntimeError(
      "unknown",
      `start conmon: ${said === "" ? "it ended before the OCI runtime told of a process" : said}`,
    );
  }
  child.stderr?.destroy();
  if (message.pid > 0) return message.pid;
  throw new RuntimeError(
    "unknown",
    `OCI runtime create: ${runtimeWords(message.message) || "failed"}`,
  );
}

// A runtime that has failed is about to end.
const logMs = 1_000;
const lookMs = 10;

/** What the OCI runtime wrote to its log, or "". It may end a moment after conmon. */
async function wordsInLog(file: string): Promise<string> {
  for (const end = performance.now() + logMs; ; ) {
    const words = loggedWords(await readFile(file, "utf8").catch(() => ""));
    if (words !== "" || performance.now() >= end) return words;
    await delay(lookMs);
  }
}

/** Up to the first newline, or all there is. conmon holds its end of the pipe for its whole life. */
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
    // Destroyed when it is of no use any more.
  }
  return text.trim();
}
