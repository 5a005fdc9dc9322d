/**
 * Breaks text at spaces into lines of at most `width` letters. A word that is longer stays whole, so
 * that a path or a command can be copied. Spaces between words of one line stay as they are.
 */
export function wrapWords(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/(?<= )(?=[^ ])/)) {
    if (line !== "" && line.length + word.trimEnd().length > width) {
      lines.push(line.trimEnd());
      line = "";
    }
    line += word;
  }
  return [...lines, line.trimEnd()];
}
