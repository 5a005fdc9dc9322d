/**
 * Coverage of the directories that have a floor (scripts/coverage-floor.json), as Node.js's own test runner
 * measures it when the unit tests in them run. A line counts as covered unless it lies in a function or a
 * branch that never ran, so comments and types do. The branches of a function that never ran are not counted:
 * the first test of a large function raises the share of lines, and may lower that of branches.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import type { TestEvent } from "node:test/reporters";

type Summary = Extract<TestEvent, { type: "test:coverage" }>["data"]["summary"];

/** The coverage of one file in the report. */
export type CoveredFile = Pick<
  Summary["files"][number],
  "path" | "totalLineCount" | "coveredLineCount" | "totalBranchCount" | "coveredBranchCount"
>;

/** Percentages. */
interface Coverage {
  readonly lines: number;
  readonly branches: number;
}

interface CoverageVerdict {
  /** A row for each directory: its files, lines and branches. */
  readonly table: string;
  /** A row for each directory with a floor. */
  readonly totals: string;
  /** One text for each figure that is below its floor. */
  readonly problems: readonly string[];
}

const repo = path.resolve(import.meta.dirname, "../..");
const floorFile = "scripts/coverage-floor.json";

/** The floors, by directory. */
const floors = JSON.parse(readFileSync(path.join(repo, floorFile), "utf8")) as Readonly<
  Record<string, Coverage>
>;

/** The directories that have a floor. */
export const measured: readonly string[] = Object.keys(floors);

/** True for a test file whose run is measured: in a measured directory, or the one that loads all modules. */
export function isMeasured(file: string): boolean {
  return file === "test/gate/loads.test.ts" || measured.some((each) => file.startsWith(`${each}/`));
}

/** The options of `node --test` that measure. */
export function coverageOptions(): readonly string[] {
  return [
    "--experimental-test-coverage",
    ...measured.map((directory) => `--test-coverage-include=${directory}/**`),
    "--test-coverage-exclude=**/*.test.ts",
    "--test-coverage-exclude=**/testing/**",
  ];
}

/** Compares the report's files with the floors. A directory without any file is below its floor. */
export function judgeCoverage(
  files: readonly CoveredFile[],
  limits: Readonly<Record<string, Coverage>> = floors,
): CoverageVerdict {
  const byDirectory = Map.groupBy(files, (file) => path.dirname(path.relative(repo, file.path)));
  const rows = [...byDirectory].sort(([a], [b]) => (a < b ? -1 : 1));
  const totals: string[] = [];
  const problems: string[] = [];
  for (const [directory, floor] of Object.entries(limits)) {
    const part = files.filter((file) => path.relative(repo, file.path).startsWith(`${directory}/`));
    totals.push(row(directory, part));
    const reached = sum(part);
    for (const figure of ["lines", "branches"] as const) {
      if (reached[figure] >= floor[figure]) continue;
      problems.push(
        `${figure} of ${directory}: ${percent(reached[figure])} covered, want ${floor[figure]} % (${floorFile}); test what is new`,
      );
    }
  }
  const table = [head, ...rows.map(([directory, part]) => row(directory, part)), ...totals];
  return { table: table.join("\n"), totals: [head, ...totals].join("\n"), problems };
}

const head = `${"directory".padEnd(28)} files     lines  branches`;

function row(directory: string, files: readonly CoveredFile[]): string {
  const { lines, branches } = sum(files);
  const figures = [percent(lines).padStart(9), percent(branches).padStart(9)];
  return `${directory.padEnd(28)} ${String(files.length).padStart(5)} ${figures.join(" ")}`;
}

function sum(files: readonly CoveredFile[]): Coverage {
  const part = (count: (file: CoveredFile) => number): number =>
    files.reduce((all, file) => all + count(file), 0);
  const share = (covered: number, all: number): number => (all === 0 ? 0 : (100 * covered) / all);
  return {
    lines: share(
      part((file) => file.coveredLineCount),
      part((file) => file.totalLineCount),
    ),
    branches: share(
      part((file) => file.coveredBranchCount),
      part((file) => file.totalBranchCount),
    ),
  };
}

/** Rounded down, so that a value that is printed as the floor has reached it. */
function percent(share: number): string {
  return `${(Math.floor(share * 10) / 10).toFixed(1)} %`;
}
