import type { Style } from "./terminal.ts";
import { wrapWords } from "./wrap.ts";
import type { Report } from "../../doctor/examine.ts";
import { type Finding, formerIds, type Severity } from "../../doctor/finding.ts";

const severities: readonly Severity[] = ["error", "warning", "note", "ok"];

/** How many findings of each severity there are. */
export function countFindings({ groups }: Report): Readonly<Record<Severity, number>> {
  const all = groups.flatMap(({ findings }) => findings);
  const count = (wanted: Severity): number =>
    all.filter(({ severity }) => severity === wanted).length;
  return {
    error: count("error"),
    warning: count("warning"),
    note: count("note"),
    ok: count("ok"),
  };
}

/**
 * The report for a person: a line for each check that passed, the rest with why and fix. Text is wrapped at
 * words where the lines of the terminal have `columns` letters.
 */
export function formatReport(
  report: Report,
  style: Style,
  columns = Number.POSITIVE_INFINITY,
): string {
  const lines: string[] = [];
  for (const { group, title, findings } of report.groups) {
    if (findings.length === 0) continue;
    lines.push(`${style.bold(title)} ${style.dim(`(${group})`)}`);
    for (const finding of bySeverity(findings))
      lines.push(...formatFinding(finding, style, columns));
    lines.push("");
  }
  for (const [heading, items] of [
    ["Left out", report.leftOut],
    ["Done by --fix", report.fixed],
  ] as const) {
    if (items.length === 0) continue;
    lines.push(style.bold(heading), ...items.map((item) => `  ${item}`), "");
  }
  return `${[...lines, summary(report, style)].join("\n")}\n`;
}

/** What passed comes first: a person reads from below. */
function bySeverity(findings: readonly Finding[]): readonly Finding[] {
  const rank = ({ severity }: Finding): number => severities.indexOf(severity);
  return findings.toSorted((a, b) => rank(b) - rank(a));
}

const indent = " ".repeat(11);

function formatFinding(
  { id, severity, found, why, fix }: Finding,
  style: Style,
  columns: number,
): string[] {
  const paint = { ok: style.green, note: style.bold, warning: style.yellow, error: style.red };
  // Paragraphs of less would be a column of single words.
  const width = Math.max(columns - indent.length, 30);
  const isOk = severity === "ok";
  const head = wrapWords(isOk ? clean(found) : `${clean(found)}  ${id}`, width);
  const told = fix === undefined ? "" : `fix: ${clean(fix.text)}${fix.apply ? " (or --fix)" : ""}`;
  const paragraphs = [
    // An id has no space, and is the end of the last line.
    ...head.map((line) => (isOk ? line : line.replace(new RegExp(`${id}$`), style.dim(id)))),
    ...(isOk ? [] : wrapWords(why, width)),
    ...(told === "" ? [] : wrapWords(told, width)).map((line) =>
      line.replace(/^fix:/, style.bold("fix:")),
    ),
  ];
  const [first = "", ...rest] = paragraphs;
  return [
    `  ${paint[severity](severity.padEnd(7))}  ${first}`,
    ...rest.map((line) => `${indent}${line}`),
  ];
}

/** What programs and files said must not move the cursor. */
function clean(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function summary(report: Report, style: Style): string {
  const count = countFindings(report);
  const word = (number: number, name: string): string =>
    `${number} ${name}${number === 1 ? "" : "s"}`;
  const passed = `${word(count.ok, "check")} passed`;
  if (count.error + count.warning + count.note === 0) return style.green(passed);
  const parts = [
    word(count.error, "error"),
    word(count.warning, "warning"),
    word(count.note, "note"),
  ];
  const shown = parts.filter((part) => !part.startsWith("0 "));
  const text = `${shown.join(", ")}; ${passed}`;
  return count.error > 0 ? style.red(text) : text;
}

/** The report for programs; docs/doctor.md has the keys. `mend` is the earlier name of `fix`. */
export function reportToJson(report: Report): object {
  return {
    summary: countFindings(report),
    findings: report.groups.flatMap(({ group, findings }) =>
      findings.map(({ id, severity, found, why, fix }) => ({
        id,
        group,
        severity,
        found,
        ...(formerIds[id] === undefined ? {} : { formerId: formerIds[id] }),
        ...(why === "" ? {} : { why }),
        ...(fix === undefined
          ? {}
          : { fix: fix.text, fixable: fix.apply !== undefined, mend: fix.text }),
      })),
    ),
    leftOut: report.leftOut,
    fixed: report.fixed,
  };
}
