/** Runs one test file in namespaces of its own, and checks from outside that nothing is left. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { belongsOnHost, newMark, ownsCgroup, ownsTemporary } from "./belongs.ts";
import { compileCache } from "./compile-cache.ts";
import {
  type Difference,
  describeLeaks,
  findLeaks,
  type LeakCheckOptions,
  takeSnapshot,
} from "./leaks.ts";
import type { Report } from "./reporter.ts";
import { describeWaits } from "./snapshot/processes.ts";
import { hasSystemdDriver } from "./systemd-driver.ts";

interface IsolateOptions {
  readonly timeoutMs: number;
  /** True where every change of the host counts, and not only what belongs to the file: belongs.ts. */
  readonly strict: boolean;
  /** How long a process or an unmount may take to end before it counts as a leak; 2000. */
  readonly settleMs?: number;
  /** What the output calls this run; the path of the file by default. */
  readonly name?: string;
  /** Variables that the file gets besides those of the runner. */
  readonly env?: NodeJS.ProcessEnv;
}

/** The result of one file. `output` is for people. */
export interface FileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly output: string;
}

/** The exit code of `in-namespace.ts` when all tests passed and something was left. */
export const leftSomething = 3;

// What runs and what it uses, so that an interrupted run removes them.
const running = new Set<ChildProcess>();
const scratches = new Set<Scratch>();

/** Ends every isolated file that runs now, with all of its processes, and removes all directories. */
export function killRunning(): void {
  for (const child of running) kill(child);
  for (const scratch of scratches) scratch[Symbol.dispose]();
}

/** A TMPDIR for tests, and next to it the file that the reporter writes. */
export class Scratch implements Disposable {
  readonly directory: string;
  readonly report: string;

  constructor(prefix: "davit-test-" | "davit-unit-") {
    this.directory = mkdtempSync(path.join(tmpdir(), prefix));
    this.report = `${this.directory}.json`;
    scratches.add(this);
  }

  [Symbol.dispose](): void {
    scratches.delete(this);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    rmSync(this.report, { force: true });
  }
}

/**
 * Runs `file` under `unshare` with its own network, mount, pid and ipc namespace, lo up, an empty
 * /run and /var/lib/cni and a private TMPDIR. DAVIT_TEST_RUN marks its processes, DAVIT_TEST_CGROUP
 * is a name that no other file uses, for cgroups and for what must lie in /tmp itself.
 *
 * The pid namespace makes the end certain: when its first process is killed the kernel kills all
 * others (pid_namespaces(7)), containers and their monitors included.
 */
export async function runIsolated(file: string, options: IsolateOptions): Promise<FileResult> {
  const id = randomUUID();
  using scratch = new Scratch("davit-test-");
  const cgroup = newMark();
  const check = outerCheck(id, cgroup, scratch.directory, options);
  const before = await takeSnapshot(check);
  const begin = Date.now();
  const name = options.name ?? path.relative(process.cwd(), file);

  const child = spawn("unshare", unshareArgs(file), {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: {
      ...process.env,
      ...options.env,
      // Else node takes this for a test that runs itself again, and silently runs nothing.
      NODE_TEST_CONTEXT: undefined,
      TMPDIR: scratch.directory,
      DAVIT_TEST_RUN: id,
      DAVIT_TEST_NAMESPACE: hasSystemdDriver ? undefined : "1",
      DAVIT_TEST_CGROUP: cgroup,
      DAVIT_TEST_STRICT_HOST: options.strict ? "1" : undefined,
      DAVIT_TEST_REPORT: scratch.report,
      DAVIT_TEST_NAME: name,
      DAVIT_TEST_SETTLE_MS: String(options.settleMs ?? 2000),
    },
  });
  const ended = await untilEnd(child, options.timeoutMs);
  const report = readReport(scratch.report);
  const problems = [...judge(ended, report, options)];
  const leaks = await findLeaks(before, check);
  if (leaks.length > 0) problems.push(`left behind on the host:\n${describeLeaks(leaks)}`);
  removeCgroups(leaks, cgroup);

  const time = ((Date.now() - begin) / 1000).toFixed(1);
  const verdict = problems.map((text) => `FAILED  ${name}  ${time} s: ${text}\n`);
  return {
    passed: report.passed,
    failed: report.failed + problems.length,
    skipped: report.skipped,
    output: [ended.output, ...verdict].join(""),
  };
}

/** What is wrong with the end of a file beyond the failures that its report counts. */
function judge(ended: End, report: Report, { timeoutMs }: IsolateOptions): readonly string[] {
  const ran = report.passed + report.failed + report.skipped;
  if (ended.timedOut) {
    const names = report.running.map((name) => `"${name}"`).join(", ");
    const still = names || `no test: it hung ${ran === 0 ? "before its first" : "after its last"}`;
    const processes = ended.waits.map((text) => `\n${text}`).join("");
    return [`killed after ${timeoutMs / 1000} s; still running: ${still}${processes}`];
  }
  if (ended.code === leftSomething) return ["left something behind"];
  if (ended.code !== 0 && report.failed === 0) return [`ended with ${ended.code}`];
  return ran === 0 ? ["ran no test"] : [];
}

/** Removes the cgroups of a file that was killed: nothing else knows their names. */
function removeCgroups(leaks: readonly Difference[], mark: string): void {
  const left = leaks.filter(({ kind, name }) => kind === "cgroup" && name.includes(`/${mark}`));
  for (const { name } of left.sort((a, b) => b.name.length - a.name.length)) {
    try {
      rmdirSync(name);
    } catch {
      // It is reported already; a cgroup that cannot be removed is not a second finding.
    }
  }
}

function unshareArgs(file: string): readonly string[] {
  const here = import.meta.dirname;
  const namespaces = ["--net", "--ipc", "--mount", "--propagation", "private"];
  const pids = hasSystemdDriver ? [] : ["--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];
  const inside = [
    path.join(here, "enter.sh"),
    process.execPath,
    ...compileCache(),
    path.join(here, "in-namespace.ts"),
  ];
  return [...namespaces, ...pids, "sh", ...inside, file];
}

/** What the file must not leave outside of its namespaces: nothing. */
function outerCheck(
  run: string,
  mark: string,
  temporary: string,
  { strict, settleMs = 2000 }: IsolateOptions,
): LeakCheckOptions {
  return {
    settleMs,
    processes: { run },
    cgroups: (cgroup) => ownsCgroup(cgroup, mark, strict),
    temporary: (name) => ownsTemporary(name, mark, strict),
    counts: strict ? () => true : belongsOnHost(mark, temporary),
  };
}

interface End {
  readonly code: number | null;
  readonly timedOut: boolean;
  /** The processes of one that timed out, and where they waited. */
  readonly waits: readonly string[];
  readonly output: string;
}

function untilEnd(child: ChildProcess, timeoutMs: number): Promise<End> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let timedOut = false;
    let waits: readonly string[] = [];
    const timer = setTimeout(() => {
      timedOut = true;
      void describeWaits(child.pid ?? 0)
        .then((found) => (waits = found))
        .finally(() => kill(child));
    }, timeoutMs);
    running.add(child);
    child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      running.delete(child);
      resolve({ code, timedOut, waits, output: Buffer.concat(chunks).toString() });
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

/** The counts that the reporter wrote, or zeros if it wrote none. */
export function readReport(file: string): Report {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Report;
  } catch {
    return { passed: 0, failed: 0, skipped: 0, running: [] }; // It died before its first test.
  }
}
