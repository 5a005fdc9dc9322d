/**
 * The annotations whose keys match one of the patterns, as containerd has them: `*` is any text without
 * "/", `?` one character, `[a-z]` and `[^a-z]` one of a set, `\\` takes the next character as it is.
 */
export function allowedAnnotations(
  annotations: Readonly<Record<string, string>>,
  patterns: readonly string[],
): Readonly<Record<string, string>> {
  const allowed = patterns.map(patternOf);
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => allowed.some((pattern) => pattern.test(key))),
  );
}

function patternOf(glob: string): RegExp {
  const parts = glob.matchAll(/\\(.)|\*|\?|\[(\^?)([^\]]+)\]|[^]/gu);
  const source = [...parts].map(([part, escaped, not, set]) => {
    if (escaped !== undefined) return literal(escaped);
    if (part === "*") return "[^/]*";
    if (part === "?") return "[^/]";
    if (set !== undefined) return `[${not ?? ""}${set.replace(/[\\[\]^&]/g, "\\$&")}]`;
    return literal(part);
  });
  return new RegExp(`^${source.join("")}$`);
}

function literal(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}
