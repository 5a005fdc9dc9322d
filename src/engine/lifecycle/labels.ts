type Labels = Readonly<Record<string, string>>;

/**
 * A test for labels: true when every label of the selector is there with its value. Undefined for a
 * selector that every object matches.
 */
export function labelMatcher(selector: Labels = {}): ((labels: Labels) => boolean) | undefined {
  const wanted = Object.entries(selector);
  if (wanted.length === 0) return undefined;
  return (labels) => wanted.every(([key, value]) => labels[key] === value);
}
