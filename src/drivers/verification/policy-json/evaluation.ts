import type { CheckedSignature } from "../../../core/image/index.ts";
import { readBounded } from "./bounded-file.ts";
import type { KeySource } from "./requirement.ts";

/** What a requirement says about an image. */
export interface Evaluation {
  readonly accepted: boolean;
  readonly reason: string;
  /** By whom a signature must be: `by "/etc/keys/team.pub"`. */
  readonly wanted: string;
  readonly signatures: readonly CheckedSignature[];
}

/** A key or certificate that was read, with its name for messages. */
export interface KeyFile {
  readonly name: string;
  readonly bytes: Buffer;
}

const maxKeyBytes = 1024 * 1024;

/** Reads keys of a requirement. An unreadable file is an error, even where another key would do. */
export async function readKeys(
  sources: readonly KeySource[],
  what: string,
): Promise<readonly KeyFile[]> {
  const files: KeyFile[] = [];
  for (const [index, source] of sources.entries()) {
    const bytes = "path" in source ? await readBounded(source.path, maxKeyBytes) : source.data;
    files.push({ name: nameOf(source, what, index), bytes });
  }
  return files;
}

/** The names of keys for messages, with files in quotes. */
export function namesOf(sources: readonly KeySource[], what: string): readonly string[] {
  return sources.map((source, index) => {
    const name = nameOf(source, what, index);
    return "path" in source ? `"${name}"` : name;
  });
}

function nameOf(source: KeySource, what: string, index: number): string {
  return "path" in source ? source.path : `${what} ${index + 1} of the policy`;
}
