/**
 * The reporter that `test/run.ts` gives to `node --test`: one line a file, failures in full, and
 * the counts as JSON in the file that DAVIT_TEST_REPORT names (rewritten at every event, so that it
 * tells which test was running when a file had to be killed). DAVIT_TEST_NAME is the name of the only
 * file of the run, for the line of that file; without it the line has the path.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { TestEvent } from "node:test/reporters";
import { inspect } from "node:util";
import type { CoveredFile } from "./coverage.ts";

/** What DAVIT_TEST_REPORT holds. A suite is counted only where it is skipped whole; else its tests are. */
export interface Report {
  passed: number;
  failed: number;
  skipped: number;
  /** Names of the tests that have begun and not ended. */
  running: string[];
  /** Where the run was measured. */
  coverage?: readonly CoveredFile[];
}

interface FileReport {
  passed: number;
  failed: number;
  readonly skips: string[];
  readonly failures: string[];
  /** What the file itself printed: shown only where something failed. */
  readonly output: string[];
  /** How long the file took; unknown when it died before it could say. */
  ms: number | undefined;
}

/** The undocumented parts of what node throws for a failed test. */
interface NodeTestError extends Error {
  readonly failureType?: string;
  readonly exitCode?: number;
  readonly signal?: string;
}

type Result = Extract<TestEvent, { type: "test:pass" | "test:fail" }>["data"];

const reportFile = process.env["DAVIT_TEST_REPORT"];
const runName = process.env["DAVIT_TEST_NAME"];
const cwd = process.cwd();

/** Turns the events of `node --test` into the lines that a person reads. */
export default async function* reporter(source: AsyncIterable<TestEvent>): AsyncIterable<string> {
  const files = new Map<string, FileReport>();
  const running = new Set<string>();
  let coverage: readonly CoveredFile[] | undefined;

  for await (const event of source) {
    // At test:start the test may be over: that event waits for its turn in the output.
    if (event.type === "test:dequeue" && !isFile(event.data)) running.add(event.data.name);
    if (event.type === "test:pass" || event.type === "test:fail") {
      running.delete(event.data.name);
      count(fileOf(files, event.data.file), event.type === "test:pass", event.data);
    }
    if (event.type === "test:stdout" || event.type === "test:stderr") {
      fileOf(files, event.data.file).output.push(event.data.message);
    }
    // This is how node reports an error that was thrown after the end of its test.
    if (event.type === "test:diagnostic" && event.data.file !== undefined) {
      fileOf(files, event.data.file).output.push(`${event.data.message}\n`);
    }
    if (event.type === "test:coverage") coverage = event.data.summary.files.map(counts);
    save(files, running, coverage);
    if (event.type === "test:summary" && event.data.file !== undefined) {
      fileOf(files, event.data.file).ms = event.data.duration_ms;
    }
  }
  // Not at a file's own summary: the death of a file after its last test is reported later.
  fold(files);
  for (const [name, file] of files) yield describeFile(name, file);
}

/**
 * Adds the tests of imported files to the file that ran, if only one did: node reports a test under the file
 * that calls test(), which can be a shared suite.
 */
function fold(files: Map<string, FileReport>): void {
  const [run, ...others] = [...files.values()].filter(({ ms }) => ms !== undefined);
  if (run === undefined || others.length > 0) return;
  for (const [name, part] of files) {
    if (part === run) continue;
    run.passed += part.passed;
    run.failed += part.failed;
    const within = (text: string): string => `${path.relative(cwd, name)}: ${text}`;
    run.skips.push(...part.skips.map(within));
    run.failures.push(...part.failures.map(within));
    run.output.push(...part.output);
    files.delete(name);
  }
}

function fileOf(files: Map<string, FileReport>, file = "(no file)"): FileReport {
  const known = files.get(file);
  if (known !== undefined) return known;
  const fresh = { passed: 0, failed: 0, skips: [], failures: [], output: [], ms: undefined };
  files.set(file, fresh);
  return fresh;
}

function count(file: FileReport, passed: boolean, result: Result): void {
  if (!passed) {
    countFailure(file, result);
    return;
  }
  // node does not call the function of a skipped suite: the suite stands for all of its tests.
  if (result.details.type === "suite" && result.skip === undefined) return;
  // A file without any test is reported as one passed test that bears the file's name.
  if (isFile(result)) {
    file.failed += 1;
    file.failures.push("the file holds no test");
  } else if (result.skip !== undefined || result.todo !== undefined) {
    file.skips.push(`${result.name}: ${reasonOf(result.skip ?? result.todo)}`);
  } else {
    file.passed += 1;
  }
}

function countFailure(file: FileReport, result: Result): void {
  const { error } = result.details as { error?: NodeTestError };
  // A suite fails because a test in it did: that one is counted, and shown, by itself.
  if (error?.failureType === "subtestsFailed") return;
  file.failed += 1;
  const shown = error?.cause instanceof Error ? error.cause : error;
  // A hook of the file that failed has an error, and no exit code.
  const hasEnded = typeof error?.exitCode === "number" || typeof error?.signal === "string";
  const text =
    isFile(result) && hasEnded
      ? `the file ended with ${inspect({ code: error.exitCode, signal: error.signal })}`
      : typeof error?.cause === "string"
        ? error.cause
        : describe(shown);
  const at = result.line === undefined ? "" : ` (line ${result.line})`;
  const ours = text.replaceAll(/^ +at .*\(?node:internal.*\n?/gm, "");
  file.failures.push(`${result.name}${at}\n${indent(ours.trimEnd())}`);
}

/**
 * The error in full. Where the clean-up of a failed test failed as well (a SuppressedError, whose two
 * errors are not enumerable), both: first what went wrong, then what the clean-up could not do.
 */
function describe(error: unknown): string {
  const { suppressed, error: later } = (error ?? {}) as { suppressed?: unknown; error?: unknown };
  if (suppressed === undefined) return inspect(error, { depth: 6 });
  return `${describe(suppressed)}\nand then the clean-up failed:\n${describe(later)}`;
}

/** True for the pseudo test by which node reports on a file as a whole. */
function isFile({ name, file }: { readonly name: string; readonly file?: string }): boolean {
  return path.resolve(cwd, name) === (file ?? path.resolve(cwd, name));
}

function reasonOf(mark: boolean | string | undefined): string {
  return typeof mark === "string" ? mark : "no reason given";
}

function describeFile(name: string, file: FileReport): string {
  const counts = [`${file.passed} passed`];
  if (file.failed > 0) counts.push(`${file.failed} failed`);
  if (file.skips.length > 0) counts.push(`${file.skips.length} skipped`);
  const head = file.failed > 0 ? "FAILED " : "ok     ";
  const shown = runName ?? path.relative(cwd, name);
  const lines = [`${head} ${shown}  ${counts.join(", ")}  ${seconds(file.ms)}`];
  for (const skip of file.skips) lines.push(`        skipped ${skip}`);
  for (const failure of file.failures) lines.push(indent(`failed: ${failure}`));
  if (file.failures.length > 0 && file.output.length > 0) {
    lines.push(indent(`what the file printed:\n${indent(file.output.join("").trimEnd())}`));
  }
  return `${lines.join("\n")}\n`;
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, "        ");
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? "died" : `${(ms / 1000).toFixed(1)} s`;
}

/** The report of a file without its single lines and branches. */
function counts(file: CoveredFile): CoveredFile {
  const {
    path: name,
    totalLineCount,
    coveredLineCount,
    totalBranchCount,
    coveredBranchCount,
  } = file;
  return { path: name, totalLineCount, coveredLineCount, totalBranchCount, coveredBranchCount };
}

function save(
  files: ReadonlyMap<string, FileReport>,
  running: ReadonlySet<string>,
  coverage: readonly CoveredFile[] | undefined,
): void {
  if (reportFile === undefined) return;
  const report: Report = { passed: 0, failed: 0, skipped: 0, running: [...running] };
  if (coverage !== undefined) report.coverage = coverage;
  for (const file of files.values()) {
    report.passed += file.passed;
    report.failed += file.failed;
    report.skipped += file.skips.length;
  }
  writeFileSync(reportFile, JSON.stringify(report));
}
