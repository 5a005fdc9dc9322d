/** Writes the results of verdicts.json into docs/vm-results.md, as a table: `node test/vm/report.ts`. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { readVerdicts, type Verdict, type Verdicts } from "./results.ts";
import { remarks } from "./suites.ts";

const page = path.resolve(import.meta.dirname, "../../docs/vm-results.md");
const begin = "<!-- The table is written by test/vm/report.ts. -->\n";
const end = "<!-- End of the table. -->\n";

if (import.meta.main) writeTable();

export function writeTable(): void {
  writeFileSync(page, withTable(readFileSync(page, "utf8"), readVerdicts()));
}

/** The page with the table of these results. */
export function withTable(text: string, verdicts: Verdicts): string {
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`find the table in ${page}: its marks are missing`);
  return `${text.slice(0, from)}${begin}\n${tableOf(verdicts)}\n${text.slice(to)}`;
}

function tableOf(verdicts: Verdicts): string {
  const lines = [
    "| file | cgroupfs | systemd | SELinux | kernel | date | remark |",
    "|---|---|---|---|---|---|---|",
  ];
  for (const [name, { cgroupfs, systemd, selinux }] of Object.entries(verdicts)) {
    const all = [cgroupfs, systemd, selinux].filter((verdict) => verdict !== undefined);
    const kernels = [...new Set(all.map(({ kernel }) => kernel))].join(", ");
    const date = all.map((verdict) => verdict.date).sort()[0] ?? "";
    const cells = [cgroupfs, systemd, selinux].map(cell);
    const remark = remarks[name] ?? "";
    lines.push(`| \`${shortName(name)}\` | ${[...cells, kernels, date, remark].join(" | ")} |`);
  }
  return `${lines.join("\n")}\n`;
}

function cell(verdict: Verdict | undefined): string {
  if (verdict === undefined) return "";
  const { passed, failed, skipped } = verdict;
  const more = [failed > 0 ? `**${failed} failed**` : "", skipped > 0 ? `${skipped} skipped` : ""];
  return [`${passed}`, ...more.filter((text) => text !== "")].join(", ");
}

/** Without what all names of the kind have in common. */
function shortName(name: string): string {
  return name
    .replace(/^(test\/integration|test|src)\//, "")
    .replace(/^vm\/guest\//, "vm/")
    .replace(/\.(test|vm)\.ts/, "");
}
