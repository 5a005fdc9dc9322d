/** Runs one test file in namespaces of its own, and judges from outside that nothing stayed. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describeLeaks, findLeaks, type LeakCheckOptions, takeSnapshot } from "./leaks.ts";
import type { Report } from "./reporter.ts";

export interface IsolateOptions {
  readonly timeoutMs: number;
  /** True where other runs share the machine: only cgroups that bear this file's mark count. */
  readonly shared: boolean;
  /** How long an end that is still going on may take before it counts as a leak; 2000. */
  readonly settleMs?: number;
}

/** How one file ended. `output` is what a person should read of it. */
export interface FileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly output: string;
}

/** What the running files are, so that an interrupted run takes them with it. */
const running = new Set<ChildProcess>();

/** Ends every file that runs now, with all of its processes. */
export function killRunning(): void {
  for (const child of running) kill(child);
}

/**
 * Runs `file` under `unshare` with its own network, mount and pid namespace, lo up, an empty /run
 * and a private TMPDIR. DAVIT_TEST_RUN marks its processes, DAVIT_TEST_CGROUP is a name for cgroups
 * that no other file uses.
 *
 * The pid namespace makes the end certain: when its first process is killed the kernel kills all
 * others (pid_namespaces(7)), containers and their monitors included.
 */
export async function runIsolated(file: string, options: IsolateOptions): Promise<FileResult> {
  const id = randomUUID();
  const folder = mkdtempSync(path.join(tmpdir(), "davit-test-"));
  const reportFile = `${folder}.json`;
  const cgroup = `davit-${id.slice(0, 8)}`;
  const check = outerCheck(cgroup, options);
  const before = await takeSnapshot(check);
  const begin = Date.now();

  const child = spawn("unshare", unshareArgs(file), {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: {
      ...process.env,
      // Else node takes this for a test that runs itself again, and silently runs nothing.
      NODE_TEST_CONTEXT: undefined,
      TMPDIR: folder,
      DAVIT_TEST_RUN: id,
      DAVIT_TEST_NAMESPACE: "1",
      DAVIT_TEST_CGROUP: cgroup,
      DAVIT_TEST_REPORT: reportFile,
      DAVIT_TEST_SETTLE_MS: String(options.settleMs ?? 2000),
    },
  });
  const ended = await untilEnd(child, options.timeoutMs);
  const report = readReport(reportFile);
  rmSync(folder, { recursive: true, force: true });
  rmSync(reportFile, { force: true });

  const problems: string[] = [];
  if (ended.timedOut) {
    const names = report.running.map((name) => `"${name}"`).join(", ");
    problems.push(
      `killed after ${options.timeoutMs / 1000} s; still running: ${names || "nothing"}`,
    );
  } else if (ended.code === 3 || (ended.code !== 0 && report.failed === 0)) {
    problems.push(ended.code === 3 ? "left something behind" : `ended with ${ended.code}`);
  }
  if (problems.length === 0 && report.passed + report.failed + report.skipped === 0) {
    problems.push("ran no test");
  }
  const leaks = await findLeaks(before, check);
  if (leaks.length > 0) problems.push(`left behind on the host:\n${describeLeaks(leaks)}`);

  const name = path.relative(process.cwd(), file);
  const time = ((Date.now() - begin) / 1000).toFixed(1);
  const verdict = problems.map((text) => `FAILED  ${name}  ${time} s: ${text}\n`);
  return {
    passed: report.passed,
    failed: report.failed + problems.length,
    skipped: report.skipped,
    output: [ended.output, ...verdict].join(""),
  };
}

function unshareArgs(file: string): readonly string[] {
  const here = import.meta.dirname;
  const namespaces = ["--net", "--mount", "--propagation", "private"];
  const pids = ["--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];
  const inside = [
    path.join(here, "enter.sh"),
    process.execPath,
    path.join(here, "in-namespace.ts"),
  ];
  return [...namespaces, ...pids, "sh", ...inside, file];
}

/** What the file must not change outside of its namespaces: nothing. */
function outerCheck(cgroup: string, { shared, settleMs = 2000 }: IsolateOptions): LeakCheckOptions {
  const mark = shared ? cgroup : "davit";
  return {
    settleMs,
    processes: "marked",
    cgroups: (path) => path.split("/").some((part) => part.startsWith(mark)),
    // The scratch files of this runner and of the gate; on a shared machine, everybody's.
    ignoreFiles: [shared ? /^\/tmp\/davit/ : /^\/tmp\/davit-(test|unit)-|^\/tmp\/davit-ok\./],
  };
}

interface End {
  readonly code: number | null;
  readonly timedOut: boolean;
  readonly output: string;
}

function untilEnd(child: ChildProcess, timeoutMs: number): Promise<End> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      kill(child);
    }, timeoutMs);
    running.add(child);
    child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ code, timedOut, output: Buffer.concat(chunks).toString() });
    });
  });
}

/** Kills the file's process group; unshare's --kill-child then ends the pid namespace. */
function kill(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return { passed: 0, failed: 0, skipped: 0, running: [] }; // It died before its first test.
  }
}
