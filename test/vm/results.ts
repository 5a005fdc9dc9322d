/** The results of test files in virtual machines: read from a job's output, and kept in verdicts.json. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

/** The kinds of node of docs/vm-results.md: the driver of cgroups, and SELinux. */
export const columns = ["cgroupfs", "systemd", "selinux"] as const;
export type Column = (typeof columns)[number];

/** What the runner said about a file. */
export interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** In the machine, by its clock; absent if it is not known. */
  readonly seconds?: number;
}

/** The last result of a file in a kind of machine. */
export interface Verdict extends Result {
  readonly date: string;
  readonly kernel: "user-mode" | "qemu";
}

/** By the name of the run, which is that of test/run.ts, then by column. */
export type Verdicts = Readonly<Record<string, Readonly<Partial<Record<Column, Verdict>>>>>;

const file = path.join(import.meta.dirname, "verdicts.json");

export function readVerdicts(): Verdicts {
  return JSON.parse(readFileSync(file, "utf8")) as Verdicts;
}

/** Adds the results to those that are kept, in place of older ones of the same file and column. */
export function keepResults(
  results: ReadonlyMap<string, Result>,
  column: Column,
  kernel: Verdict["kernel"],
): void {
  const verdicts: Record<string, Partial<Record<Column, Verdict>>> = { ...readVerdicts() };
  const date = new Date().toISOString().slice(0, 10);
  for (const [name, result] of results) {
    verdicts[name] = { ...verdicts[name], [column]: { ...result, date, kernel } };
  }
  const sorted = Object.entries(verdicts).sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(sorted), undefined, 2)}\n`);
}

/**
 * The result of each file in what test/run.ts or a test file of the machine printed: `ok  NAME  3 passed, 1 skipped  2.5 s`.
 * A file that hung or left something behind has a second line, FAILED, and one more failure.
 */
export function resultsIn(output: string): ReadonlyMap<string, Result> {
  const results = new Map<string, Result>();
  const line = /^(?:ok|FAILED) +(test\/\S+|src\/\S+)( \(\w+\))?  (.*)$/gm;
  for (const [, name = "", variant = "", rest = ""] of output.matchAll(line)) {
    const run = name + variant;
    const { passed, failed, skipped, seconds = 0 } = results.get(run) ?? zero;
    const [, time] = /([\d.]+) s(?:$|:)/.exec(rest) ?? [];
    const counts = /^\d+ passed/.test(rest);
    const own = counts ? countsIn(rest) : { passed: 0, failed: 1, skipped: 0 };
    results.set(run, {
      passed: passed + own.passed,
      failed: failed + own.failed,
      skipped: skipped + own.skipped,
      seconds: time === undefined ? seconds : Number(time),
    });
  }
  return results;
}

const zero = { passed: 0, failed: 0, skipped: 0, seconds: 0 };

function countsIn(text: string): Omit<Result, "seconds"> {
  const count = (word: string): number => {
    const [, number = 0] = new RegExp(`(\\d+) ${word}`).exec(text) ?? [];
    return Number(number);
  };
  return { passed: count("passed"), failed: count("failed"), skipped: count("skipped") };
}
