import { editDistance } from "../../base/nearest.ts";

/**
 * Commands that change nothing, so that a wrong suggestion is harmless. Other commands are only
 * suggested for a single typo.
 */
const readOnlyCommands: ReadonlySet<string> = new Set([
  "pods",
  "ps",
  "images",
  "logs",
  "inspect",
  "why",
  "events",
  "wait",
  "inflight",
  "stats",
  "describe",
  "port",
  "history",
  "system df",
  "top",
  "config",
  "doctor",
  "info",
  "version",
  "completion",
]);

/** Commands that are not suggested even for a single typo. */
const neverSuggested: ReadonlySet<string> = new Set([
  "kill",
  "uninstall",
  "image prune",
  "system prune",
]);

/**
 * The candidate of which a word is most likely a typo; undefined if there is none. It begins with the same
 * letter (or with the first two swapped), and at most a third of the letters differ, or one in a short word.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  return closestOf(word, candidates)[0];
}

/** As `closest`, for command names; undefined also if several commands that change something match. */
export function closestCommand(word: string, names: Iterable<string>): string | undefined {
  const similar = closestOf(word, names);
  const safe = similar.find((name) => readOnlyCommands.has(name));
  if (safe !== undefined) return safe;
  const [only, ...more] = similar;
  if (only === undefined || more.length > 0 || neverSuggested.has(only)) return undefined;
  return editDistance(word, only) === 1 ? only : undefined;
}

function closestOf(word: string, candidates: Iterable<string>): readonly string[] {
  let fewest = Math.max(1, Math.floor(word.length / 3));
  let best: readonly string[] = [];
  for (const candidate of new Set(candidates)) {
    if (!beginsAlike(word, candidate)) continue;
    const edits = editDistance(word, candidate);
    if (edits > fewest) continue;
    best = edits < fewest ? [candidate] : [...best, candidate];
    fewest = edits;
  }
  return best;
}

function beginsAlike(word: string, candidate: string): boolean {
  const [first, second] = word;
  if (first === undefined) return false;
  return first === candidate[0] || (first === candidate[1] && second === candidate[0]);
}
