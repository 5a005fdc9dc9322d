/** What one part of a pattern takes: any text without "/", or one character. */
type Part = "any" | ((char: string) => boolean);

/**
 * The annotations whose keys match one of the patterns, as containerd has them: `*` is any text without
 * "/", `?` one character, `[a-z]` and `[^a-z]` one of a set, `\\` takes the next character as it is.
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

/** Follows all ways through the pattern at once. */
function isMatch(parts: readonly Part[], text: string): boolean {
  let places = withEmpty(parts, [0]);
  for (const char of text) {
    const next: number[] = [];
    for (const place of places) {
      const part = parts[place];
      if (part === "any" && char !== "/") next.push(place);
      if (typeof part === "function" && part(char)) next.push(place + 1);
    }
    places = withEmpty(parts, next);
    if (places.size === 0) return false;
  }
  return places.has(parts.length);
}

/** The places, and those behind a `*` that takes nothing. */
function withEmpty(parts: readonly Part[], places: readonly number[]): ReadonlySet<number> {
  const all = new Set<number>();
  for (let place of places) {
    all.add(place);
    while (parts[place] === "any") all.add(++place);
  }
  return all;
}
