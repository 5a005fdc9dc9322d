import { counted } from "../../base/counted.ts";
import type { Style } from "./terminal.ts";
import { wrapWords } from "./wrap.ts";
import type { Finding, Report, Severity } from "../../doctor/index.ts";

const severities: readonly Severity[] = ["error", "warning", "note", "ok"];

/** The number of findings of each severity. */
export function countFindings({ groups }: Report): Readonly<Record<Severity, number>> {
  const all = groups.flatMap(({ findings }) => findings);
  const count = (name: Severity): number => all.filter(({ severity }) => severity === name).length;
  return {
    error: count("error"),
    warning: count("warning"),
    note: count("note"),
    ok: count("ok"),
  };
}

/**
 * The report as text: a line for each check that passed, and reason and fix of the other findings. Text is
 * wrapped at words to lines of `columns` characters.
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
    ["Skipped", report.skipped],
    ["Fixed", report.fixed],
  ] as const) {
    if (items.length === 0) continue;
    lines.push(style.bold(heading), ...items.map((item) => `  ${clean(item)}`), "");
  }
  return `${[...lines, summary(report, style)].join("\n")}\n`;
}

/** Passed checks come first and errors last, where they are visible in a terminal. */
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
  // A narrower paragraph would be a column of single words.
  const width = Math.max(columns - indent.length, 30);
  const isOk = severity === "ok";
  const head = wrapWords(isOk ? clean(found) : `${clean(found)}  ${id}`, width);
  const fixText =
    fix === undefined ? "" : `fix: ${clean(fix.text)}${fix.apply ? " (or --fix)" : ""}`;
  const paragraphs = [
    // The id contains no space and ends the last line.
    ...head.map((line) => (isOk ? line : line.replace(new RegExp(`${id}$`), style.dim(id)))),
    ...(isOk ? [] : wrapWords(clean(why), width)),
    ...(fixText === "" ? [] : wrapWords(fixText, width)).map((line) =>
      line.replace(/^fix:/, style.bold("fix:")),
    ),
  ];
  const [first = "", ...rest] = paragraphs;
  return [
    `  ${paint[severity](severity.padEnd(7))}  ${first}`,
    ...rest.map((line) => `${indent}${line}`),
  ];
}

/** Replaces control characters: output of programs must not move the cursor. */
function clean(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function summary(report: Report, style: Style): string {
  const count = countFindings(report);
  const passed = `${counted(count.ok, "check")} passed`;
  if (count.error + count.warning + count.note === 0) return style.green(passed);
  const parts = [
    counted(count.error, "error"),
    counted(count.warning, "warning"),
    counted(count.note, "note"),
  ];
  const shown = parts.filter((part) => !part.startsWith("0 "));
  const text = `${shown.join(", ")}; ${passed}`;
  return count.error > 0 ? style.red(text) : text;
}

/** The report as JSON; docs/doctor.md describes the keys. `mend` is the former name of `fix`. */
export function reportToJson(report: Report): object {
  return {
    summary: countFindings(report),
    findings: report.groups.flatMap(({ group, findings }) =>
      findings.map(({ id, formerId, severity, found, why, fix }) => ({
        id,
        group,
        severity,
        found,
        ...(formerId === undefined ? {} : { formerId }),
        ...(why === "" ? {} : { why }),
        ...(fix === undefined
          ? {}
          : { fix: fix.text, fixable: fix.apply !== undefined, mend: fix.text }),
      })),
    ),
    leftOut: report.skipped,
    fixed: report.fixed,
  };
}
