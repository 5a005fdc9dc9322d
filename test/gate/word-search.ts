/** Finds words of a list in a text, with names split into their words: the pure part of words.ts. */

/** A word that is not used. */
interface Marker {
  /** Matched against the words of the text, in lower case; undefined where `exact` alone counts. */
  readonly words: RegExp | undefined;
  /** Matched against the text as it is written. */
  readonly exact: RegExp | undefined;
  readonly say: string;
  readonly why: string;
}

/** A text that may stay in a file, or in all files below a directory ("*": everywhere). */
export interface Allowed {
  readonly file: string;
  readonly text: string;
}

export interface Finding {
  readonly file: string;
  /** Counted from 1; 0 for the file's name. */
  readonly line: number;
  readonly found: string;
  readonly marker: Marker;
}

/** Lines of a list without comments; the columns are separated by " | ". */
function rows(text: string, columns: number): readonly (readonly string[])[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const cells = line.split(" | ").map((cell) => cell.trim());
      if (cells.length !== columns || cells.includes("")) {
        throw new Error(`read the list of words: want ${columns} columns, got "${line}"`);
      }
      return cells;
    });
}

/** words.txt. A pattern may have alternatives after "=", which are matched as they are written. */
export function parseMarkers(text: string): readonly Marker[] {
  return rows(text, 3).map(([pattern = "", say = "", why = ""]) => {
    const alternatives = splitAlternatives(pattern);
    const words = alternatives.filter((each) => !each.startsWith("="));
    const exact = alternatives.filter((each) => each.startsWith("=")).map((each) => each.slice(1));
    return {
      words: words.length === 0 ? undefined : new RegExp(`\\b(?:${words.join("|")})\\b`, "g"),
      exact: exact.length === 0 ? undefined : new RegExp(exact.join("|"), "g"),
      say,
      why,
    };
  });
}

/** "a(b|c)|=d" as ["a(b|c)", "=d"]. */
function splitAlternatives(pattern: string): readonly string[] {
  let depth = 0;
  const parts = [""];
  for (const character of pattern) {
    if (character === "(" || character === "[") depth += 1;
    if (character === ")" || character === "]") depth -= 1;
    if (character === "|" && depth === 0) parts.push("");
    else parts.push(`${parts.pop() ?? ""}${character}`);
  }
  return parts;
}

/** words-allowed.txt: file, text, reason. */
export function parseAllowed(text: string): readonly Allowed[] {
  return rows(text, 3).map(([file = "", kept = ""]) => ({ file, text: kept }));
}

/** A text as words in lower case, and for each character of it the line that it is from. */
interface Words {
  readonly text: string;
  readonly lines: readonly number[];
}

/**
 * Splits names into their words, drops what begins a line of a comment, and joins the lines, so that
 * a phrase is found over the end of a line.
 */
function toWords(text: string, firstLine: number): Words {
  const lines: number[] = [];
  const pieces = text.split("\n").map((line, at) => {
    const words = line
      .replace(/^\s*(\/\/+|\/\*+|\*+\/?|#+|--|>|\|)?\s*/, "")
      .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
      .replace(/([A-Z])([A-Z][a-z])/g, "$1 $2")
      .replace(/[_\s-]+/g, " ")
      .trimEnd()
      .toLowerCase();
    for (let index = 0; index <= words.length; index += 1) lines.push(firstLine + at);
    return words;
  });
  return { text: pieces.join(" "), lines };
}

/** The text without what may stay in this file, each blanked so that line numbers stay. */
function withoutAllowed(file: string, text: string, allowed: readonly Allowed[]): string {
  return allowed
    .filter(
      (entry) => entry.file === "*" || file === entry.file || file.startsWith(`${entry.file}/`),
    )
    .reduce((rest, { text: kept }) => rest.replaceAll(kept, " ".repeat(kept.length)), text);
}

/** All findings in a file, its name first, then by line. */
export function findWords(
  file: string,
  text: string,
  markers: readonly Marker[],
  allowed: readonly Allowed[],
): readonly Finding[] {
  const checked = withoutAllowed(file, text, allowed);
  const name = toWords(withoutAllowed(file, file, allowed), 0);
  const body = toWords(checked, 1);
  const findings = markers.flatMap((marker) => [
    ...matches(file, name, marker),
    ...matches(file, body, marker),
    ...exactMatches(file, checked, marker),
  ]);
  return findings.toSorted((left, right) => left.line - right.line);
}

function matches(file: string, words: Words, marker: Marker): readonly Finding[] {
  if (marker.words === undefined) return [];
  return [...words.text.matchAll(marker.words)].map((match) => ({
    file,
    line: words.lines[match.index] ?? 0,
    found: match[0],
    marker,
  }));
}

function exactMatches(file: string, text: string, marker: Marker): readonly Finding[] {
  const { exact } = marker;
  if (exact === undefined) return [];
  return text
    .split("\n")
    .flatMap((line, at) =>
      [...line.matchAll(exact)].map((match) => ({ file, line: at + 1, found: match[0], marker })),
    );
}

/** file:line: the word, and what to say. */
export function formatFinding({ file, line, found, marker }: Finding): string {
  const place = line === 0 ? `${file} (its name)` : `${file}:${line}`;
  return `${place}: "${found}": say ${marker.say} (${marker.why})`;
}
