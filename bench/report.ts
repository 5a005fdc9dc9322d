/** The table of a run, for the terminal and for RESULTS.md. */
import { whatWasDone } from "./done.ts";
import type { Budget, Row } from "./row.ts";
import { type Summary, summarize } from "./statistics.ts";

/** The machine of the measurement. */
export interface Setting {
  readonly date: string;
  readonly peer: string;
  /** The names of other servers. */
  readonly rivals: readonly string[];
  readonly versions: readonly string[];
  readonly rounds: number;
}

/** The rows as a Markdown table, which reads well on a terminal too. */
export function table(rows: readonly Row[], { peer, rivals }: Setting): string {
  const names = [peer, ...rivals, "davit"];
  const figures = names.flatMap((name) => [`${name} p50`, `${name} p99`]);
  const titles = ["", ...figures, "ratio", "budget", ""];
  const isText = (at: number): boolean => at === 0 || at > figures.length + 1;
  const cells = [titles, ...rows.map((row) => rowCells(row, rivals))];
  const widths = titles.map((_, at) => Math.max(...cells.map((line) => (line[at] ?? "").length)));
  const lines = cells.map((line) => {
    const padded = line.map((cell, at) => {
      const width = widths[at] ?? 0;
      return isText(at) ? cell.padEnd(width) : cell.padStart(width);
    });
    return `| ${padded.join(" | ")} |`;
  });
  const rule = widths.map((width, at) =>
    isText(at) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  return [lines[0], `| ${rule.join(" | ")} |`, ...lines.slice(1)].join("\n");
}

/** True when the row keeps its budget, or has none. */
export function passes(row: Row): boolean {
  if (row.budget === undefined) return true;
  const { budget } = row;
  const value = budget.of === "ratio" ? ratio(row) : summarize(row.davit)[budget.of];
  return "atMost" in budget ? value <= budget.atMost : value >= budget.atLeast;
}

/** davit's p50 divided by the peer's; NaN without a peer. */
export function ratio(row: Row): number {
  return summarize(row.davit).p50 / summarize(row.peer).p50;
}

/** The whole of RESULTS.md. */
export function results(rows: readonly Row[], setting: Setting): string {
  const notes = rows
    .filter(({ note }) => note !== undefined)
    .map(({ title, note }) => `- ${title}: ${note ?? ""}.`);
  return `# davit beside ${setting.peer}

Written by \`npm run bench\` (${setting.date}, ${setting.rounds} rounds). ${setting.versions.join(", ")}.

${table(rows, setting)}

Only the ratios, davit's p50 divided by ${setting.peer}'s, are meaningful elsewhere: both were
measured in the same minutes on the same machine, in alternating rounds. The times are those of a
small virtual machine and only give an orientation. p99 is the largest of fewer than 100 samples.

Method: both servers run in one network and mount namespace, apart from the host's, with their root
directories on the disk and their state on a tmpfs. Both have the same CNI configuration (bridge
with isGateway, hairpinMode and host-local, without masquerading, then portmap), each on a bridge of
its own. ${setting.peer} runs the plugins for it; davit carries it out itself, except in the rows that name
the CNI plugins. One client sends the same requests to both, as a kubelet would: a fresh cgroup with CPU and
memory limits in every hierarchy for each pod, created before the call and not timed, a log directory,
a PID namespace for each container. ${setting.peer} runs Debian's package with crun below its runc
v2 shim, and a pause image of one static program. Calls are timed in the client; the rows of many
callers have a client that only sends and counts frames, so that the rate is the server's.
${ofRivals(setting)}
${notes.join("\n")}

## What was done for each row

${whatWasDone(rows.map(({ title }) => title))}
`;
}

function ofRivals({ rivals }: Setting): string {
  if (rivals.length === 0) return "";
  return `
${rivals.join(" and ")}: beside the bench's namespaces, with a configuration and a network of their own, and never started
again. They are not measured where that is necessary, nor where a client connects to a port of the server.
`;
}

function rowCells(row: Row, rivals: readonly string[]): readonly string[] {
  const [peer, davit] = [summaryOf(row.peer), summaryOf(row.davit)];
  const verdict = row.budget === undefined ? "" : passes(row) ? "ok" : "MISSED";
  return [
    `${row.title} (${row.unit})`,
    ...pair(peer),
    ...rivals.flatMap((name) => pair(summaryOf(row.rivals?.[name]))),
    ...pair(davit),
    peer === undefined || davit === undefined ? "" : number(ratio(row)),
    budgetText(row.budget),
    verdict,
  ];
}

function summaryOf(samples: readonly number[] = []): Summary | undefined {
  return samples.length === 0 ? undefined : summarize(samples);
}

function pair(summary: Summary | undefined): readonly [string, string] {
  if (summary === undefined) return ["", ""];
  return [number(summary.p50), summary.count > 1 ? number(summary.p99) : ""];
}

function budgetText(budget: Budget | undefined): string {
  if (budget === undefined) return "";
  const what = budget.of === "ratio" ? "" : `${budget.of} `;
  return "atMost" in budget ? `${what}<= ${budget.atMost}` : `${what}>= ${budget.atLeast}`;
}

function number(value: number): string {
  if (Number.isNaN(value)) return "";
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3);
}
