/** A test for labels: true when every label of the selector is there with its value. An empty selector matches all. */
export function labelMatcher(
  selector: Readonly<Record<string, string>>,
): (labels: Readonly<Record<string, string>>) => boolean {
  const wanted = Object.entries(selector);
  return (labels) => wanted.every(([key, value]) => labels[key] === value);
}
