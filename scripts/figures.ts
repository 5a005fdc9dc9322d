/** Writes the figures of README.md and docs/capacity.md from the rows of bench/RESULTS.md, with the run that they are of. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const repo = join(import.meta.dirname, "..");

/** The rows that the README shows: their name in RESULTS.md, and what a reader calls them. */
const ofReadme = [
  ["RunPodSandbox (ms)", "RunPodSandbox"],
  ["the three together, to a running process (ms)", "a pod with a container, to a running process"],
  ["8 pods at once, all up (ms)", "8 pods at once, all up"],
  ["ExecSync(true) (ms)", "ExecSync of `true`"],
  ["StopPodSandbox (ms)", "StopPodSandbox"],
  ["memory with 110 pods (MB)", "memory with 110 pods, daemon and all"],
  ["start of the server to its first pod (ms)", "start of the server to its first pod"],
  ["restart with 100 pods, until ready (ms)", "restart with 100 pods, until ready"],
  ["PullImage, 1 GiB in 8 gzipped layers (ms)", "pull of 1 GiB"],
] as const;

/** The rows of docs/capacity.md, by the beginning of their names. */
const ofCapacity = [
  "memory with",
  "memory a sandbox",
  "memory a pod",
  "memory of the kernel",
  "memory of the daemon alone",
  "the daemon's memory after",
  // What monitored the containers of the run.
  "pods by conmon: memory",
  "pods by the monitor: memory",
  "pods by the runc v2 shim: memory",
  "the three together, to",
  "8 pods at once",
  "50 sandboxes at once",
  "ExecSync",
  "PodSandboxStatus, 100 sandboxes: 16 callers, CPU",
  "ListPodSandbox, 100 sandboxes: 16 callers, CPU",
  "ListContainerStats",
  "ListPodSandboxMetrics, 200 pods",
  "500 pods",
  "CPU of PullImage",
  "churn: descriptors",
] as const;

const results = readFileSync(join(repo, "bench/RESULTS.md"), "utf8");
const table = results
  .split("\n")
  .filter((line) => line.startsWith("|"))
  .map((line) => line.split("|").map((cell) => cell.trim()));
const [titles = []] = table;

/** The cells of a row under some titles. */
function cellsOf(row: readonly string[], names: readonly string[]): readonly string[] {
  return names.map((name) => row[titles.indexOf(name)] ?? "");
}

const run = /^Written by `npm run bench` \(([^)]*)\)\. (.*)\.$/m.exec(results);
if (run === null) throw new Error("bench/RESULTS.md does not say of which run it is");
const [, when, versions] = run;
const said = `The run of ${when} with ${versions}:`;

const ratios = ofReadme.flatMap(([title, name]) => {
  const row = table.find((cells) => cells[1] === title) ?? [];
  const [ratio = ""] = cellsOf(row, ["ratio"]);
  return ratio === "" ? [] : [`| ${name} | ${ratio} |`];
});
replace("README.md", ["| | ratio |", "|---|---:|", ...ratios]);

const figures = ofCapacity.flatMap((beginning) =>
  table
    .filter(([, title = ""]) => title.startsWith(beginning))
    .map((row) => `| ${[row[1], ...cellsOf(row, ["davit p50", "containerd p50"])].join(" | ")} |`),
);
replace("docs/capacity.md", ["| row | davit | containerd |", "|---|---:|---:|", ...figures]);

/** Writes the part of a document between the marks of figures. */
function replace(document: string, lines: readonly string[]): void {
  const file = join(repo, document);
  const marks = /(<!-- figures: .* -->\n)[^]*?(<!-- \/figures -->)/;
  const text = readFileSync(file, "utf8");
  const part = `\n${said}\n\n${lines.join("\n")}\n\n`;
  writeFileSync(
    file,
    text.replace(marks, (_, begin: string, end: string) => begin + part + end),
  );
}
