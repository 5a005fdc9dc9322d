/**
 * Replaces control characters in untrusted text for one line: names and labels come from clients, paths from
 * containers, and they must not move the cursor.
 */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** As `printable`, for text of several lines, such as an error message. */
export function printableLines(text: string): string {
  return text.replace(/(?![\t\n])[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/**
 * As `printableLines`, for text inside of a report: its further lines are indented deeper than the lines of the
 * report, so that none of them looks like one.
 */
export function indentedLines(text: string): string {
  return printableLines(text.trimEnd()).replaceAll("\n", "\n      ");
}
