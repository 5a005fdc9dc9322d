/** What one part of a pattern takes: any text without "/", or one character. */
type Part = "any" | ((char: string) => boolean);

/**
 * The annotations whose keys match one of the patterns, as containerd has them: `*` is any text without
 * "/", `?` one character, `[a-z]` and `[^a-z]` one of a set, `\\` takes the next character literally.
 *
 * Keys are strangers' text: the time is at most the length of a key times that of a pattern.
 */
export function allowedAnnotations(
  annotations: Readonly<Record<string, string>>,
  patterns: readonly string[],
): Readonly<Record<string, string>> {
  const allowed = patterns.map(partsOf);
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => allowed.some((parts) => isMatch(parts, key))),
  );
}

/** Whether one pattern, as those of {@link allowedAnnotations}, matches a text. */
export function matchesPattern(pattern: string, text: string): boolean {
  return isMatch(partsOf(pattern), text);
}

function partsOf(glob: string): readonly Part[] {
  const parts = glob.matchAll(/\\(.)|\*|\?|\[(\^?)([^\]]+)\]|[^]/gu);
  return [...parts].map(([part, escaped, not, set]) => {
    if (part === "*" && escaped === undefined) return "any";
    if (part === "?" && escaped === undefined) return (char) => char !== "/";
    if (set !== undefined) return oneOf(set, not === "^");
    return (char) => char === (escaped ?? part);
  });
}

/** `a-z` in a set is a range, at its ends "-" is itself. */
function oneOf(set: string, isNegated: boolean): (char: string) => boolean {
  const ranges = [...set.matchAll(/([^])-([^])|([^])/gu)].map(
    ([, from, to, single]) => [from ?? single ?? "", to ?? single ?? ""] as const,
  );
  return (char) => ranges.some(([from, to]) => from <= char && char <= to) !== isNegated;
}

/** Follows all paths through the pattern in parallel. */
function isMatch(parts: readonly Part[], text: string): boolean {
  let positions = withEmpty(parts, [0]);
  for (const char of text) {
    const next: number[] = [];
    for (const position of positions) {
      const part = parts[position];
      if (part === "any" && char !== "/") next.push(position);
      if (typeof part === "function" && part(char)) next.push(position + 1);
    }
    positions = withEmpty(parts, next);
    if (positions.size === 0) return false;
  }
  return positions.has(parts.length);
}

/** The positions, and those after a `*` that matches nothing. */
function withEmpty(parts: readonly Part[], positions: readonly number[]): ReadonlySet<number> {
  const all = new Set<number>();
  for (let position of positions) {
    all.add(position);
    while (parts[position] === "any") all.add(++position);
  }
  return all;
}
