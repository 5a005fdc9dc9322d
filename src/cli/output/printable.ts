/**
 * Replaces control characters in untrusted text for one line: names and labels come from clients, paths from
 * containers, and they must not move the cursor.
 */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** The same for text of several lines, such as an error message. */
export function printableLines(text: string): string {
  return text.replace(/(?![\t\n])[\u0000-\u001f\u007f-\u009f]/g, "?");
}
