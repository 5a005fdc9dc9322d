/** Long enough for every valid name. Characters. */
const longest = 300;

/**
 * A text in quotes, for a message. A long one is cut: clients, images, registries and plugins choose it, and
 * messages go into logs and into the events of pods.
 */
export function quote(text: string): string {
  if (text.length <= longest) return JSON.stringify(text);
  return `${JSON.stringify(text.slice(0, longest))}... (${text.length} characters)`;
}

/** The value of JSON as {@link quote} shows it: its text, cut. */
export function quoteValue(value: unknown): string {
  if (typeof value === "string") return quote(value);
  const text = (JSON.stringify(value) as string | undefined) ?? "nothing";
  return text.length <= longest ? text : `${text.slice(0, longest)}...`;
}
