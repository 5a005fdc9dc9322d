import { statSync } from "node:fs";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";

/** What the first operand of davit run names. */
type Target = "manifest" | "image";

/** What is at a path; undefined if nothing is. */
export type PathKind = "file" | "directory" | undefined;

/** What is at a path of this machine. A pipe counts as a file: <(command). */
export function pathKind(path: string): PathKind {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  return stats.isDirectory() ? "directory" : "file";
}

/**
 * Whether a word is a manifest: "-", an existing file, or a word that looks like the path of one. Other words
 * are images.
 */
export function targetOf(word: string, kindAt: (path: string) => PathKind = pathKind): Target {
  if (word === "-" || /\.(ya?ml|json)$/.test(word) || /^(\/|\.{1,2}(\/|$)|~)/.test(word)) {
    return "manifest";
  }
  return kindAt(word) === "file" ? "manifest" : "image";
}

/** Rejects a word for an image that cannot be the name of one, with what was tried. */
export function checkImageName(word: string): void {
  // Each part of a name is lower case; a registry's host may have other letters, and a port.
  const name = word.replace(/@sha256:[0-9a-f]{64}$/, "").replace(/:[\w][\w.-]{0,127}$/, "");
  const path = name.replace(
    /^(localhost|[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+|[^/]+:\d+|\[[^/]+)(:\d+)?\//,
    "",
  );
  const part = "[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*";
  if (
    new RegExp(`^${part}(/${part})*$`).test(path) ||
    /^[0-9a-f]{64}$/.test(word.replace(/^sha256:/, ""))
  )
    return;
  throw new CommandFailure(
    exitCode.usage,
    `run "${word}": there is no such file, and it is not the name of an image, which has lower-case letters, ` +
      "digits and . _ - /, and may have a :TAG or @DIGEST",
  );
}
