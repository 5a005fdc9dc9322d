/**
 * The language gate: finds the words of words.txt in names, comments, strings, file names and documents.
 *
 *   sh test/gate/words.sh                       every finding; code 1 when there is one
 *   DAVIT_WORDS_REPORT=1 sh test/gate/words.sh  only count, by directory and by word; code 0
 *   sh test/gate/words.sh --list PATH...        every finding at or below these paths
 */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import {
  type Allowed,
  type Finding,
  findWords,
  formatFinding,
  parseAllowed,
  parseMarkers,
} from "./word-search.ts";

const gate = import.meta.dirname;
const repo = path.resolve(gate, "../..");

/** Not ours to word, generated from sources that are checked, or the list of the words itself. */
const skipped =
  /^(src\/gen\/|proto\/|package-lock\.json$|LICENSE$|test\/gate\/word|docs\/configuration\.md$|packaging\/davit\.toml$|bench\/RESULTS\.md$)/;

/** Parts of files that are skipped, each blanked so that line numbers stay. */
const skippedParts: readonly (readonly [file: RegExp, part: RegExp])[] = [
  // The past stays as it was written.
  [/^CHANGELOG\.md$/, /^## \[\d[^]*/m],
  // Written from src/cli/commands by the test of src/cli/command-line/reference.ts.
  [/^docs\/cli\.md$/, /^<!-- From here on [^]*/m],
  // The rows are those of doctor's catalogues in the sources.
  [/^docs\/doctor\.md$/, /^\| `[a-z]+\.[a-z0-9-]+` \|.*$/gm],
  // Written from bench/RESULTS.md by scripts/figures.ts.
  [/^(README|docs\/capacity)\.md$/, /^<!-- figures: [^]*?<!-- \/figures -->/m],
  // The table of what not to say.
  [/^docs\/glossary\.md$/, /^## Say and do not say$[^]*/m],
];

const read = (file: string): string => readFileSync(path.join(gate, file), "utf8");

/** Tracked files and new ones; without git (an unpacked archive) every file that is not built. */
function listFiles(): readonly string[] {
  const isOurs = (file: string): boolean =>
    file !== "" && !skipped.test(file) && statSync(path.join(repo, file), never)?.isFile() === true;
  return (existsSync(path.join(repo, ".git")) ? filesOfGit() : filesOfTree()).filter(isOurs);
}

const never = { throwIfNoEntry: false } as const;

function filesOfGit(): readonly string[] {
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  return execFileSync("git", args, { cwd: repo, encoding: "utf8" }).split("\0");
}

function filesOfTree(): readonly string[] {
  const isBuilt = (name: string): boolean => /(^|\/)(node_modules|dist|out)$/.test(name);
  return globSync("**/*", { cwd: repo, exclude: isBuilt });
}

/** The text of a file with the skipped parts blanked; undefined for one that is not text. */
function textOf(file: string): string | undefined {
  const bytes = readFileSync(path.join(repo, file));
  if (bytes.includes(0)) return undefined;
  return skippedParts
    .filter(([name]) => name.test(file))
    .reduce(
      (text, [, part]) => text.replace(part, (found) => found.replace(/[^\n]/g, " ")),
      bytes.toString("utf8"),
    );
}

function findAll(): readonly Finding[] {
  const markers = parseMarkers(read("words.txt"));
  const allowed: readonly Allowed[] = parseAllowed(read("words-allowed.txt"));
  return listFiles().flatMap((file) => {
    const text = textOf(file);
    return text === undefined ? [] : findWords(file, text, markers, allowed);
  });
}

/** A table of the largest numbers first. */
function countBy(findings: readonly Finding[], key: (finding: Finding) => string): string {
  const counts = Map.groupBy(findings, key);
  return [...counts]
    .map(([name, found]) => [name, found.length] as const)
    .toSorted(([, left], [, right]) => right - left)
    .map(([name, count]) => `${String(count).padStart(6)}  ${name}`)
    .join("\n");
}

/** The directory of a file, to two levels: enough to see who has what to do. */
function directoryOf({ file }: Finding): string {
  return path.dirname(file).split("/").slice(0, 3).join("/");
}

function report(findings: readonly Finding[]): string {
  return [
    `words: ${findings.length} findings`,
    "by directory",
    countBy(findings, directoryOf),
    "by word",
    countBy(findings, ({ marker }) => marker.say),
  ].join("\n");
}

const findings = findAll();
const [option, ...paths] = process.argv.slice(2);
if (option === "--list") {
  const chosen = findings.filter(({ file }) =>
    paths.some((each) => file === each || file.startsWith(`${each.replace(/\/$/, "")}/`)),
  );
  for (const finding of chosen) process.stdout.write(`${formatFinding(finding)}\n`);
} else if ((process.env["DAVIT_WORDS_REPORT"] ?? "") !== "") {
  process.stdout.write(`${report(findings)}\n`);
} else {
  for (const finding of findings) process.stdout.write(`${formatFinding(finding)}\n`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}
