import type { ExecValue } from "./api/container.ts";
import { invalid } from "./explain.ts";

/** What would mean something to a shell, and nothing here. */
const operators = /^(\||\|\||&|&&|;|<|<<|\d?>|\d?>>|\d?>&\d?)$/;

/**
 * The program and the arguments of exec`...`: the words of the text, with each value as one argument or as a part of
 * one. A list as a whole word is several arguments.
 *
 * @throws DavitError `invalid` for quotes, backslashes and operators of shells in the text
 */
export function commandWords(
  template: TemplateStringsArray,
  values: readonly ExecValue[],
): readonly string[] {
  const words: string[] = [];
  // The word at the end of what was read, which may continue.
  let open: string | undefined;
  const close = (): void => {
    if (open !== undefined) words.push(open);
    open = undefined;
  };
  for (const [index, text] of template.entries()) {
    checkText(text);
    const parts = text.split(/\s+/);
    for (const [at, part] of parts.entries()) {
      if (at > 0) close();
      if (part !== "") open = (open ?? "") + part;
    }
    if (index >= values.length) continue;
    const value = values[index] as ExecValue;
    if (typeof value === "string" || typeof value === "number") {
      open = (open ?? "") + String(value);
      continue;
    }
    const next = template[index + 1] ?? "";
    if (open !== undefined || !/^(\s|$)/.test(next)) {
      throw invalid("exec: a list must be a word of its own; put spaces around it");
    }
    words.push(...value.map(String));
  }
  close();
  if (words.length === 0) throw invalid("exec: the command is empty");
  return words;
}

function checkText(text: string): void {
  const quote = /["'\\]/.exec(text)?.[0];
  const operator = text.split(/\s+/).find((word) => operators.test(word));
  const found = quote ?? operator;
  if (found === undefined) return;
  throw invalid(
    `exec: there is no shell, so ${found} has no meaning in the text; pass the argument as a value, or use exec(["sh", "-c", script])`,
  );
}
