import { RuntimeError } from "../../../base/errors.ts";
import { quote } from "../../../base/quote.ts";
import type { Claim, Owners } from "./owners.ts";

/** Refuses an answer, naming its field: `failed-precondition`, since the request was not what is wrong. */
export type Refuse = (field: string, why: string) => never;

/** The refusal of a plugin's answer about one container. */
export function refusal(plugin: string, container: string): Refuse {
  return (field, why) => {
    throw new RuntimeError(
      "failed-precondition",
      `apply the answer of NRI plugin ${quote(plugin)} to container ${quote(container)}: ${field}: ${why}`,
    );
  };
}

/** More than any plugin needs. Entries of a list or map. */
const mostEntries = 4096;
/** PATH_MAX of linux/limits.h. Bytes. */
const longestPath = 4096;
/** More than a list of all CPUs needs. Bytes. */
const longestList = 4096;
/** MAX_ARG_STRLEN of linux/binfmts.h. Bytes. */
export const longestArgument = 128 * 1024;

/** Refuses a list or map with too many entries. */
export function checkCount(field: string, count: number, refuse: Refuse): void {
  if (count > mostEntries) refuse(field, `it has ${count} entries, at most ${mostEntries} can be`);
}

/** Refuses a text with a NUL, or one that is too long. */
export function checkText(field: string, text: string, most: number, refuse: Refuse): void {
  if (text.includes("\0")) refuse(field, `a NUL in ${quote(text)}`);
  const length = Buffer.byteLength(text);
  if (length > most) refuse(field, `a text of ${length} bytes, at most ${most} can be`);
}

/** Refuses what is not an absolute path. */
export function checkPath(field: string, path: string, refuse: Refuse): void {
  if (!path.startsWith("/")) refuse(field, `must be an absolute path, got ${quote(path)}`);
  checkText(field, path, longestPath, refuse);
}

/** Refuses what is not a list of CPUs or memory nodes as in cpuset(7); it may be empty. */
export function checkNumbers(field: string, list: string, refuse: Refuse): void {
  checkText(field, list, longestList, refuse);
  if (!/^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$/.test(list)) {
    refuse(field, `must be a list such as 0-2,4 (cpuset(7)), got ${quote(list)}`);
  }
}

/** A name that stands for the removal of an entry begins with "-" (NRI, IsMarkedForRemoval). */
export function splitRemoval(key: string): { readonly key: string; readonly removed: boolean } {
  return key.startsWith("-") ? { key: key.slice(1), removed: true } : { key, removed: false };
}

/** The mark of a removed entry. */
export function removalOf(key: string): string {
  return `-${key}`;
}

/** Whose answer about which container is merged. */
export interface AnswerContext {
  readonly plugin: string;
  readonly container: string;
  readonly owners: Owners;
  readonly refuse: Refuse;
}

/** Makes the context's plugin the owner of a field, see Owners.claim(). */
export function claim({ owners, container, plugin }: AnswerContext, of: Claim): void {
  owners.claim(container, of, plugin);
}

/** Takes a field from its owner, see Owners.clear(). */
export function clear({ owners, container, plugin }: AnswerContext, of: Claim): void {
  owners.clear(container, of, plugin);
}
