/** Writes the README's small table of figures from the rows of bench/RESULTS.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const repo = join(import.meta.dirname, "..");

/** The rows that the README shows: their name in RESULTS.md, and what a reader calls them. */
const shown = [
  ["RunPodSandbox (ms)", "RunPodSandbox"],
  ["CreateContainer + StartContainer (ms)", "CreateContainer and StartContainer"],
  ["the three together, to a running process (ms)", "the three together, to a running process"],
  ["8 sandboxes at once, all ready (ms)", "8 sandboxes at once, all ready"],
  ["ExecSync(true) (ms)", "ExecSync of `true`"],
  ["StopPodSandbox (ms)", "StopPodSandbox"],
  ["RemovePodSandbox (ms)", "RemovePodSandbox"],
  ["ListContainerStats of 20 containers (ms)", "ListContainerStats of 20 containers"],
  ["memory a sandbox, slope from 10 to 60 (MB)", "memory for each further sandbox"],
  ["memory with 60 sandboxes (MB)", "memory with 60 sandboxes, daemon and all"],
  ["memory with 0 sandboxes (MB)", "memory of the daemon alone"],
  ["start of the server to its first answer (ms)", "start of the server to its first answer"],
] as const;

const results = readFileSync(join(repo, "bench/RESULTS.md"), "utf8");
const ratios = new Map(
  results.split("\n").flatMap((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    return cells.length > 6 ? [[cells[1] ?? "", cells[6] ?? ""] as const] : [];
  }),
);
const rows = shown.flatMap(([row, name]) => {
  const ratio = ratios.get(row) ?? "";
  return ratio === "" ? [] : [`| ${name} | ${ratio} |`];
});
const readme = join(repo, "README.md");
const text = readFileSync(readme, "utf8");
const table = ["| | ratio |", "|---|---:|", ...rows].join("\n");
writeFileSync(
  readme,
  text.replace(/(<!-- figures: .* -->\n)[^]*?(<!-- \/figures -->)/, `$1\n${table}\n\n$2`),
);
