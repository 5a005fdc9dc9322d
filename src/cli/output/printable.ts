/**
 * Text of somebody else for one place of a line: names and labels are a client's, paths a container's, and
 * control characters of theirs must not move the cursor.
 */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/** The same for a text of several lines, as the message of an error may have. */
export function printableLines(text: string): string {
  return text.replace(/(?![\t\n])[\u0000-\u001f\u007f-\u009f]/g, "?");
}
