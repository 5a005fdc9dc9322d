/**
 * The fuzzer: `npm run test:fuzz -- [TARGET...] [options]`. Each target runs in a process of its own, so that one that
 * hangs, crashes or needs too much memory is found as well: its input is in a file before it is tried.
 * docs/fuzzing.md describes the targets.
 */
import { type ChildProcess, fork } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { chooseSeed } from "../support/random.ts";
import { type CampaignResult, inputName, runCampaign } from "./campaign.ts";
import { Coverage } from "./coverage.ts";
import { failedInputs, saveCorpus, savedCorpus, saveFailure } from "./inputs.ts";
import type { FuzzTarget } from "./target.ts";
import { loadTarget, targetNames } from "./targets.ts";

const usage = `usage: node test/fuzz/run.ts [TARGET...] [options]
  --minutes N   how long each target runs (10)
  --cases N     how many inputs each target gets, in place of a time
  --seed N      the seed of the random numbers, which each run prints
  --native      only the targets with C of native/, without the measurement of coverage and time
  --list        print the targets and exit`;

const noReport: Report = {
  done: false,
  cases: 0,
  corpus: 0,
  functions: 0,
  cpuMs: 0,
  failures: [],
};

/** A process hangs that reports nothing for so much CPU time, or for so long on a machine that may be busy. */
const [silenceCpuSeconds, silenceMs] = [process.argv.includes("--native") ? 300 : 60, 900_000];
const heapMb = 768;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "10" },
    cases: { type: "string" },
    seed: { type: "string" },
    native: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
    // Of the process of one target.
    child: { type: "string" },
  },
});

interface Job {
  readonly name: string;
  readonly seed: number;
  readonly endMs: number;
  readonly cases: number;
  readonly native: boolean;
}

interface Report {
  readonly done: boolean;
  readonly cases: number;
  readonly corpus: number;
  readonly functions: number;
  readonly cpuMs: number;
  readonly failures: readonly { readonly file: string; readonly error: string }[];
}

if (values.help) console.log(usage);
else if (values.child !== undefined) await runChild(JSON.parse(values.child) as Job);
else await main();

async function main(): Promise<void> {
  const unknown = positionals.find((name) => !targetNames.includes(name));
  if (unknown !== undefined) {
    console.error(`"${unknown}" is not a target; the targets are ${targetNames.join(", ")}`);
    process.exitCode = 2;
    return;
  }
  const chosen = positionals.length > 0 ? positionals : targetNames;
  const seed = values.seed === undefined ? chooseSeed() : Number(values.seed);
  for (const name of chosen) {
    if (values.native && (await loadTarget(name)).isNative !== true) continue;
    if (values.list) console.log(name);
    else if (!(await runParent(name, seed))) process.exitCode = 1;
  }
}

/** Runs a target in a process. True when no input failed. */
async function runParent(name: string, seed: number): Promise<boolean> {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-fuzz-"));
  const current = path.join(directory, "input");
  const job = jobOf(name, seed);
  const child = fork(import.meta.filename, ["--child", JSON.stringify(job)], {
    env: { ...process.env, DAVIT_FUZZ_INPUT: current },
    execArgv: [`--max-old-space-size=${heapMb}`],
  });
  try {
    const { report, end } = await watch(child);
    const input = report.done ? undefined : readFileSync(current, { flag: "a+" });
    return printResult(job, report, { end, input });
  } finally {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true });
  }
}

function jobOf(name: string, seed: number): Job {
  const { minutes, native } = values;
  const cases = values.cases === undefined ? 2 ** 52 : Number(values.cases);
  const isTimed = values.cases === undefined;
  const endMs = isTimed ? Date.now() + Number(minutes) * 60_000 : Number.MAX_SAFE_INTEGER;
  return { name, seed, endMs, cases, native };
}

/** Prints what a process reported. `input` is what a process was at that ended before its time. */
function printResult(
  { name, seed }: Job,
  { cases, corpus, functions, cpuMs, failures }: Report,
  { end, input }: { readonly end: string; readonly input: Buffer | undefined },
): boolean {
  for (const { file, error } of failures) console.log(`FAILED  ${name}: ${file}\n${error}\n`);
  if (input !== undefined) console.log(`FAILED  ${name}: ${end} at ${saveFailure(name, input)}`);
  const isOk = input === undefined && failures.length === 0;
  const reached = `${corpus} in the corpus, ${functions} functions`;
  const spent = `${(cpuMs / 60_000).toFixed(1)} min of CPU, seed ${seed}`;
  const result = isOk ? "ok     " : "FAILED ";
  console.log(`${result} ${name}  ${cases.toLocaleString("en")} cases, ${reached}, ${spent}`);
  return isOk;
}

/** Waits for the end of a process, which it kills when that reports nothing. */
async function watch(
  child: ChildProcess,
): Promise<{ readonly report: Report; readonly end: string }> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let report = { ...noReport };
  let [reportedCpu, reportedMs] = [0, Date.now()];
  const timer = setInterval(() => {
    const isSilent = cpuSeconds(child) - reportedCpu > silenceCpuSeconds;
    if (!isSilent && Date.now() - reportedMs < silenceMs) return;
    child.kill("SIGKILL");
    resolve(`no end for ${isSilent ? `${silenceCpuSeconds} s of CPU` : `${silenceMs / 1000} s`}`);
  }, 2000);
  child.on("message", (message) => {
    report = message as Report;
    [reportedCpu, reportedMs] = [cpuSeconds(child), Date.now()];
  });
  child.on("exit", (code, signal) => resolve(`the process ended by ${signal ?? `code ${code}`}`));
  const end = await promise;
  clearInterval(timer);
  return { report, end };
}

/** The CPU time of a process; 0 when it has ended (proc_pid_stat(5), in ticks of 10 ms). */
function cpuSeconds({ pid }: ChildProcess): number {
  try {
    const fields =
      readFileSync(`/proc/${pid ?? 0}/stat`, "latin1")
        .split(") ")[1]
        ?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}

async function runChild(job: Job): Promise<void> {
  const target = await loadTarget(job.name);
  const file = openSync(process.env["DAVIT_FUZZ_INPUT"] ?? "/dev/null", "w");
  const coverage = job.native
    ? undefined
    : new Coverage((url) => url.includes("/src/") && !url.includes("/src/gen/"));
  const inputs = [...failedInputs(job.name).values(), ...savedCorpus(job.name)];
  let [cases, lastReportMs] = [0, 0];
  const begun = process.cpuUsage();
  const report = (done: boolean, result?: CampaignResult): void => {
    const { user, system } = process.cpuUsage(begun);
    process.send?.({
      done,
      cases: result?.cases ?? cases,
      corpus: result?.corpus.length ?? 0,
      functions: coverage?.functions ?? 0,
      cpuMs: (user + system) / 1000,
      failures: (result?.failures ?? []).map(({ input, error }) => ({
        file: saveFailure(job.name, input),
        error: describe(error),
      })),
    } satisfies Report);
  };
  const result = await runCampaign(target, {
    seed: job.seed,
    inputs,
    isOver: (count) => {
      cases = count;
      if (Date.now() - lastReportMs > 1000) {
        lastReportMs = Date.now();
        report(false);
      }
      return count >= job.cases || Date.now() > job.endMs;
    },
    ...(coverage === undefined ? {} : { coverage }),
    isTimed: !job.native,
    before: (input) => {
      ftruncateSync(file, 0);
      writeSync(file, input, 0, input.length, 0);
    },
    maxFailures: 8,
  });
  saveNew(target, result, inputs);
  target.close?.();
  report(true, result);
  closeSync(file);
  process.disconnect();
}

function saveNew(target: FuzzTarget, result: CampaignResult, known: readonly Buffer[]): void {
  const names = new Set([...target.seeds(), ...known].map(inputName));
  saveCorpus(
    target.name,
    result.corpus.filter((input) => !names.has(inputName(input))),
  );
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause =
    error.cause instanceof Error
      ? `\ncause: ${error.cause.message.slice(0, 700)}\n${framesOf(error.cause)}`
      : "";
  return `${error.message.slice(0, 700)}\n${framesOf(error)}${cause}`;
}

function framesOf({ stack = "" }: Error): string {
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 8)
    .join("\n");
}
