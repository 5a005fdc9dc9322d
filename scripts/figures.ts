/** Writes the README's small table of figures from the rows of bench/RESULTS.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const repo = join(import.meta.dirname, "..");

/** The rows that the README shows: their name in RESULTS.md, and what a reader calls them. */
const shown = [
  ["RunPodSandbox (ms)", "RunPodSandbox"],
  ["CreateContainer + StartContainer (ms)", "CreateContainer and StartContainer"],
  ["the three together, to a running process (ms)", "the three together, to a running process"],
  ["8 pods at once, all up (ms)", "8 pods at once, all up"],
  ["ExecSync(true) (ms)", "ExecSync of `true`"],
  ["StopPodSandbox (ms)", "StopPodSandbox"],
  ["RemovePodSandbox (ms)", "RemovePodSandbox"],
  ["ListContainerStats of 20 containers (ms)", "ListContainerStats of 20 containers"],
  ["memory a sandbox, slope from 10 to 60 (MB)", "memory for each further sandbox"],
  ["memory with 110 pods (MB)", "memory with 110 pods, daemon and all"],
  ["memory with 0 sandboxes (MB)", "memory of the daemon alone"],
  ["start of the server to its first answer (ms)", "start of the server to its first answer"],
  ["restart with 100 pods, until ready (ms)", "restart with 100 pods, until ready"],
  ["PullImage, 1 GiB in 8 gzipped layers (ms)", "pull of 1 GiB"],
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
