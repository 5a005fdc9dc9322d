import { stripVTControlCharacters } from "node:util";

/** Where text may be broken: between words. */
const betweenWords = /(?<= )(?=[^ ])/;
/** The same, and between the parts of a path. */
const betweenParts = /(?<=[ /])(?=[^ /])/;

/**
 * Breaks text at spaces into lines of at most `width` letters. A word that is longer stays whole, so
 * that a path or a command can be copied. Spaces between words of one line stay as they are.
 */
export function wrapWords(text: string, width: number): readonly string[] {
  return wrapAt(text, width, betweenWords);
}

/** As `wrapWords`, for a cell of a table: names of images may be broken after a slash as well. */
export function wrapCell(text: string, width: number): readonly string[] {
  return wrapAt(text, width, betweenParts);
}

/** The narrowest that `wrapCell` can make a text. */
export function narrowestCell(text: string): number {
  return Math.max(...text.split(betweenParts).map((part) => part.trimEnd().length));
}

function wrapAt(text: string, width: number, places: RegExp): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(places)) {
    if (line !== "" && line.length + word.trimEnd().length > width) {
      lines.push(line.trimEnd());
      line = "";
    }
    line += word;
  }
  return [...lines, line.trimEnd()];
}

/**
 * Breaks the lines of a text that are longer than `width` at their spaces. What follows stands below the
 * line's text, behind its label where it has one: "NetworkReady   no  it is missing". Colours count as
 * nothing. Without a width, as for a pipe, nothing is broken.
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
  // Behind a label that takes half of the line there is no room for words.
  const indent = label.length <= width / 2 ? label.length : spaces.length;
  const lines: string[] = [];
  let current = "";
  // Each word with the spaces before it, which go where the line is broken.
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
