// Of a line without spaces at its beginning. There is one way to match each letter, so that the time is linear.
const HEADER = /^\[\[?([^\]]+)\]/;
const ASSIGNMENT = /^((?:"[^"]*"|'[^']*'|[\w.\s-])+?)=/;
/** No setting is in as many tables. */
const MAX_DEPTH = 16;
const KEY_PART = /"([^"]*)"|'([^']*)'|([\w-]+)/g;

/**
 * The line (from 1) on which each key and table of a valid TOML text first appears, by its
 * dotted path. The TOML parser does not report it, and error messages need it. Keys inside an inline
 * table are not found; look up the table that contains them.
 */
export function keyLines(toml: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  let table: readonly string[] = [];
  let openQuote: string | undefined;
  for (const [index, line] of toml.split("\n").entries()) {
    if (openQuote !== undefined) {
      if (line.includes(openQuote)) openQuote = undefined;
      continue;
    }
    const trimmed = line.trimStart();
    const header = HEADER.exec(trimmed)?.[1];
    const assigned = ASSIGNMENT.exec(trimmed)?.[1];
    if (header !== undefined) table = keyParts(header);
    if (header !== undefined) addLine(lines, table, index + 1);
    else if (assigned !== undefined) addLine(lines, [...table, ...keyParts(assigned)], index + 1);
    openQuote = ['"""', "'''"].find((quote) => line.split(quote).length % 2 === 0);
  }
  return lines;
}

/** The line of `key`, or of the innermost enclosing table that has one. */
export function lineOf(lines: ReadonlyMap<string, number>, key: string): number | undefined {
  for (let path = key; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const line = lines.get(path);
    if (line !== undefined) return line;
  }
  return undefined;
}

function keyParts(dotted: string): string[] {
  return [...dotted.matchAll(KEY_PART)].map((part) => part[1] ?? part[2] ?? part[3] ?? "");
}

function addLine(lines: Map<string, number>, path: readonly string[], line: number): void {
  for (let length = 1; length <= Math.min(path.length, MAX_DEPTH); length += 1) {
    const key = path.slice(0, length).join(".");
    if (!lines.has(key)) lines.set(key, line);
  }
}
