/**
 * The test runner: `node test/run.ts PHASE... [options] [FILTER...]`.
 *
 * Phases: `gate` (scripts/ok.sh without the unit tests), `unit` (`*.test.ts`, no root), `kernel`
 * (`*.kernel.test.ts`) and `integration` (test/integration and the quick part of test/attacks); the
 * last two need root, and each of their files runs in namespaces of its own (support/isolate.ts), once
 * for each variant that it declares (support/variants.ts). `attacks` runs all of test/attacks, the slow
 * part included, and only when it is named. A filter keeps the runs whose name contains it:
 * "container.test.ts" keeps all variants of that file, "container.test.ts (shim)" one of them, and "(shim)"
 * this variant of all files. The last line is `N passed, N failed, N skipped`.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, readdirSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { isStrictHost } from "./support/belongs.ts";
import { compileCache, compileCacheVariable } from "./support/compile-cache.ts";
import { patient } from "./support/patience.ts";
import {
  type CoveredFile,
  coverageOptions,
  isMeasured,
  judgeCoverage,
} from "./support/coverage.ts";
import {
  type FileResult,
  killRunning,
  readReport,
  runIsolated,
  Scratch,
} from "./support/isolate.ts";
import { runsOf, type TestRun } from "./support/variants.ts";

const phases = ["gate", "unit", "kernel", "integration", "attacks", "packages"] as const;
type Phase = (typeof phases)[number];
const byDefault: readonly Phase[] = ["gate", "unit", "kernel", "integration"];

const usage = `usage: node test/run.ts [${phases.join("|")}]... [options] [FILTER...]
  --timeout SECONDS   how long one kernel or integration file may take (300); longer while the machine is busy
  --parallel N        how many of them run at once (1)
  --strict            report every change of the host during a kernel or integration file, not only
                      what belongs to the file: for a host that runs nothing else; one file at once
  --coverage          of the unit tests those alone whose coverage has a floor, with a table of it
  --repeat N          repeat up to N kernel and integration files that failed, once each; the second
                      result counts, and the file is reported as FLAKY: a defect to fix (0)
  --list              print the files, and the variants of a file that has some, and exit
environment:
  DAVIT_TEST_STRICT_HOST=1    as --strict; CI sets it
  DAVIT_TEST_TIMEOUT=SECONDS  as --timeout
  DAVIT_TEST_REPEAT=N         as --repeat; CI sets it to 3`;

const repo = path.resolve(import.meta.dirname, "..");
process.chdir(repo);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    timeout: { type: "string", default: process.env["DAVIT_TEST_TIMEOUT"] ?? "300" },
    parallel: { type: "string", default: "1" },
    strict: { type: "boolean", default: isStrictHost() },
    repeat: { type: "string", default: process.env["DAVIT_TEST_REPEAT"] ?? "0" },
    coverage: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

const isPhase = (word: string): word is Phase => (phases as readonly string[]).includes(word);
const firstFilter = positionals.findIndex((word) => !isPhase(word));
const named = (firstFilter < 0 ? positionals : positionals.slice(0, firstFilter)).filter(isPhase);
const filters = firstFilter < 0 ? [] : positionals.slice(firstFilter);
const chosen = named.length > 0 ? named : byDefault;

const total = { passed: 0, failed: 0, skipped: 0 };
let repeatsLeft = Number(values.repeat);

// The gate or the unit tests, while they run.
const children = new Set<ChildProcess>();

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const child of children) child.kill(signal);
    killRunning();
    process.exit(130);
  });
}

if (values.help) {
  print(usage);
} else if (values.coverage && filters.length > 0) {
  print("--coverage takes no filter: a part of the tests covers a part of the code only");
  process.exitCode = 2;
} else if (values.list) {
  for (const phase of chosen) for (const { name } of runsIn(phase)) print(name);
} else {
  await main();
}

async function main(): Promise<void> {
  if (values.strict && Number(values.parallel) > 1) {
    print("--strict takes what another file does for a leak: use it with --parallel 1");
    process.exitCode = 1;
    return;
  }
  using compiled = new Scratch("davit-test-");
  process.env[compileCacheVariable] = compiled.directory;
  let found = 0;
  for (const phase of phases.filter((each) => chosen.includes(each))) {
    if (phase === "gate") {
      if (filters.length === 0) await runGate();
      continue;
    }
    const runs = runsIn(phase);
    found += runs.length;
    if (runs.length === 0) continue;
    const files = new Set(runs.map(({ file }) => file)).size;
    const variants = runs.length - files;
    const more = variants > 0 ? `, and ${variants} in another variant` : "";
    print(`\n${phase} tests: ${files} ${files === 1 ? "file" : "files"}${more}`);
    if (phase === "unit") await runUnit(runs.map(({ file }) => file));
    else await runFiles(phase, runs);
  }
  if (filters.length > 0 && found === 0) {
    print(`no test file has "${filters.join('" or "')}" in its name; see: node test/run.ts --list`);
    total.failed += 1;
  }
  print(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

/** The test files of a phase that no filter excludes, each once for every variant. */
function runsIn(phase: Phase): readonly TestRun[] {
  if (phase === "gate") return [];
  const named: Partial<Record<Phase, readonly string[]>> = {
    attacks: ["test/attacks/*.test.ts", "test/attacks/*.slow.ts"],
    packages: ["test/packages/*.test.ts"],
  };
  const patterns = named[phase];
  const all =
    patterns !== undefined
      ? globSync(patterns)
      : globSync(["src/**/*.test.ts", "native/**/*.test.ts", "test/**/*.test.ts"]);
  return all
    .sort()
    .filter((file) => patterns !== undefined || phaseOf(file) === phase)
    .flatMap((file) => (phase === "unit" ? [{ file, name: file, env: {} }] : runsOf(file)))
    .filter(({ name }) => filters.length === 0 || filters.some((part) => name.includes(part)));
}

function phaseOf(file: string): Phase {
  if (/^test\/(integration|attacks)\//.test(file)) return "integration";
  if (file.startsWith("test/packages/")) return "packages";
  return file.endsWith(".kernel.test.ts") ? "kernel" : "unit";
}

/** The gate's checks; each one counts as a test. */
async function runGate(): Promise<void> {
  print("\ngate");
  const checks = ["format", "types", "lint", "layers", "generated", "words", "audit"];
  const { output } = await run("sh", ["scripts/ok.sh", ...checks], {});
  process.stdout.write(output);
  const count = (pattern: RegExp): number => output.match(pattern)?.length ?? 0;
  const failed = count(/^FAILED /gm);
  const passed = count(/^ok {6}/gm);
  const skipped = count(/^skipped /gm);
  // A gate that could not even begin has not passed.
  add({ passed, failed: Math.max(failed, checks.length - passed - skipped), skipped });
}

/**
 * The unit tests. Those of the directories that have a floor of coverage are a run of their own, which is
 * measured; with a filter nothing is, as a part of the tests covers a part only.
 */
async function runUnit(files: readonly string[]): Promise<void> {
  const apart = filters.length === 0 ? files.filter(isMeasured) : [];
  if (apart.length > 0) await runUnitFiles(apart, true);
  const others = values.coverage ? [] : files.filter((file) => !apart.includes(file));
  if (others.length > 0) await runUnitFiles(others, false);
}

/** Unit tests under one `node --test`, two files at once, with a TMPDIR they must empty. */
async function runUnitFiles(files: readonly string[], measure: boolean): Promise<void> {
  using scratch = new Scratch("davit-unit-");
  const reporter = path.join(repo, "test/support/reporter.ts");
  const options = ["--test", "--test-concurrency=2", `--test-reporter=${reporter}`];
  const args = [...options, ...(measure ? coverageOptions() : compileCache()), ...files];
  const env = { TMPDIR: scratch.directory, DAVIT_TEST_REPORT: scratch.report };
  const { code, output } = await run(process.execPath, args, env);
  process.stdout.write(output);
  const report = readReport(scratch.report);
  const left = readdirSync(scratch.directory);
  if (left.length > 0) print(`FAILED  unit tests left in TMPDIR: ${left.join(", ")}`);
  const silent = code !== 0 && report.failed === 0 ? 1 : 0;
  if (silent > 0) print(`FAILED  node --test ended with ${code}`);
  add({ ...report, failed: report.failed + silent + (left.length > 0 ? 1 : 0) });
  if (measure) judge(report.coverage ?? []);
}

function judge(covered: readonly CoveredFile[]): void {
  const { table, totals, problems } = judgeCoverage(covered);
  print(`\n${values.coverage ? table : totals}`);
  for (const problem of problems) print(`FAILED  coverage: ${problem}`);
  add({ passed: 0, failed: problems.length, skipped: 0 });
}

async function runFiles(phase: Phase, runs: readonly TestRun[]): Promise<void> {
  if (process.getuid?.() !== 0) {
    print(`FAILED  ${phase} tests make namespaces and mounts and need root: sudo npm test`);
    total.failed += 1;
    return;
  }
  const queue = [...runs];
  const { strict } = values;
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { file, name, env } = next;
      const timeoutMs = patient(Number(values.timeout) * 1000);
      const runOnce = async (): Promise<FileResult> => {
        const result = await runIsolated(path.join(repo, file), { timeoutMs, strict, name, env });
        process.stdout.write(result.output);
        return result;
      };
      const first = await runOnce();
      add(first.failed > 0 && repeatsLeft-- > 0 ? await repeated(name, runOnce) : first);
    }
  };
  await Promise.all(Array.from({ length: Number(values.parallel) }, worker));
}

/** The result of a second run of a file that has failed. */
async function repeated(name: string, runOnce: () => Promise<FileResult>): Promise<FileResult> {
  print(`repeating ${name}`);
  const second = await runOnce();
  if (second.failed === 0) print(`FLAKY   ${name} failed, and passed when it was repeated`);
  return second;
}

async function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  children.add(child);
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  children.delete(child);
  return { code, output: Buffer.concat(chunks).toString() };
}

function add(result: Omit<FileResult, "output">): void {
  total.passed += result.passed;
  total.failed += result.failed;
  total.skipped += result.skipped;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
