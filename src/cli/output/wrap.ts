import { stripVTControlCharacters } from "node:util";

/** Text may be wrapped between words. */
const betweenWords = /(?<= )(?=[^ ])/;
/** Cells may also be wrapped between the parts of a path. */
const betweenParts = /(?<=[ /])(?=[^ /])/;

/**
 * Wraps text at spaces to lines of at most `width` characters. A longer word is not broken, so
 * that a path or a command can be copied. Spaces between the words of a line stay unchanged.
 */
export function wrapWords(text: string, width: number): readonly string[] {
  return wrapAt(text, width, betweenWords);
}

/** As `wrapWords`, for a cell of a table: image names may also be wrapped after a slash. */
export function wrapCell(text: string, width: number): readonly string[] {
  return wrapAt(text, width, betweenParts);
}

/** The minimum width to which `wrapCell` can wrap a text. */
export function narrowestCell(text: string): number {
  return Math.max(...text.split(betweenParts).map((part) => part.trimEnd().length));
}

function wrapAt(text: string, width: number, breaks: RegExp): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(breaks)) {
    if (line !== "" && line.length + word.trimEnd().length > width) {
      lines.push(line.trimEnd());
      line = "";
    }
    line += word;
  }
  return [...lines, line.trimEnd()];
}

/**
 * Wraps the lines of a text that are longer than `width` at spaces. Continuation lines are indented to the
 * text after the label, if the line has one: "NetworkReady   no  it is missing". Escape sequences have no
 * width. Without a width, as for a pipe, nothing is wrapped.
 */
export function wrapLines(text: string, width: number | undefined): string {
  if (width === undefined) return text;
  return text
    .split("\n")
    .map((line) => (lengthOf(line) <= width ? line : wrapLine(line, width)))
    .join("\n");
}

function lengthOf(text: string): number {
  return stripVTControlCharacters(text).length;
}

function wrapLine(line: string, width: number): string {
  const [label = ""] = /^ *(?:\S+(?: \S+)*? {2,})?/.exec(stripVTControlCharacters(line)) ?? [];
  const [spaces = ""] = /^ */.exec(label) ?? [];
  // A label that is wider than half of the line leaves no space for words.
  const indent = label.length <= width / 2 ? label.length : spaces.length;
  const lines: string[] = [];
  let current = "";
  // Each word with the spaces before it, which are dropped at a line break.
  for (const [word] of line.matchAll(/ *[^ ]+/g)) {
    if (current.trim() !== "" && lengthOf(current + word) > width) {
      lines.push(current);
      current = " ".repeat(indent) + word.trimStart();
    } else {
      current += word;
    }
  }
  return [...lines, current].join("\n");
}
