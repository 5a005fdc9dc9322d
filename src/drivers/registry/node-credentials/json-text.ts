import { messageOf } from "../../../base/errors.ts";

/**
 * The value of a JSON text. The error names the line and nothing of the text, which has secrets: the
 * parser's own message would quote it.
 */
export function parseJson(text: string): { readonly value: unknown } | { readonly line: number } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { line: lineOfError(text) };
  }
}

/** The first line that makes the text before its end invalid. The parser does not always name it. */
function lineOfError(text: string): number {
  const ends = [...text.matchAll(/\n/g)].map(({ index }) => index + 1);
  ends.push(text.length);
  let low = 0;
  let high = ends.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isUnfinished(text.slice(0, ends[middle]))) low = middle + 1;
    else high = middle;
  }
  return low + 1;
}

/** Whether the text could be the beginning of a JSON text. */
function isUnfinished(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const message = messageOf(error);
    const position = / at position (\d+)/.exec(message)?.[1];
    return /end of JSON input|Unterminated string/.test(message) || position === `${text.length}`;
  }
}
