// The pieces of the Prometheus text format, version 0.0.4 (prometheus.io, "Exposition formats").

/** The content type of the format. */
export const contentType = "text/plain; version=0.0.4; charset=utf-8";

/** The longest value of a label, in UTF-16 code units. Longer ones are cut. */
const maxLabelLength = 128;

/** Labels as text, `a="x",b="y"`, for the first names for which there are values. */
export function labelText(names: readonly string[], values: readonly string[]): string {
  return values.map((value, at) => `${names[at] ?? ""}="${escapeLabel(value)}"`).join(",");
}

/** Escapes what the format gives a meaning in the value of a label. Cuts a value that is too long. */
function escapeLabel(value: string): string {
  return value
    .slice(0, maxLabelLength)
    .toWellFormed()
    .replace(/[\\"\n]/g, (special) => (special === "\n" ? "\\n" : `\\${special}`));
}

/** Escapes a help text, where quotes have no meaning. */
export function escapeHelp(help: string): string {
  return help.replace(/[\\\n]/g, (special) => (special === "\n" ? "\\n" : "\\\\"));
}

/** A number as the format writes it. */
export function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

/** The label with the upper bound of a bucket. */
export function bucketLabel(bound: number): string {
  return `le="${formatValue(bound)}"`;
}
