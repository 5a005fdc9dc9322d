import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Trust, TrustFile } from "../../../verify/protocol.ts";
import { filesOf, type SigstorePolicy } from "./policies.ts";

const maxFileBytes = 4 * 1024 * 1024;

/**
 * The files of policies. They are read again when one of them has changed. One that cannot be read is an error
 * for the policies that name it, and for no other.
 */
export class TrustFiles {
  readonly #paths: readonly string[];
  #files: ReadonlyMap<string, ReadFile> = new Map();
  #seen = "";
  #digest = "";

  constructor(policies: readonly SigstorePolicy[]) {
    this.#paths = [...new Set(policies.flatMap(filesOf))].sort();
  }

  /** A digest of their content. Not an error for a file that cannot be read. */
  async generation(): Promise<string> {
    const seen = (await Promise.all(this.#paths.map(stamp))).join("\n");
    if (seen === this.#seen && this.#digest !== "") return this.#digest;
    const files = await Promise.all(this.#paths.map(read));
    const hash = createHash("sha256");
    for (const [at, path] of this.#paths.entries()) {
      const text = files[at]?.text;
      hash.update(text === undefined ? `${path}\0unreadable` : `${path}\0${text.length}\0${text}`);
    }
    this.#files = new Map(this.#paths.map((path, at) => [path, files[at] ?? {}]));
    // What could not be read is tried again, even if the file looks as before.
    this.#seen = files.some(({ text }) => text === undefined) ? "" : seen;
    this.#digest = hash.digest("hex");
    return this.#digest;
  }

  /** What a policy trusts, as read last. `failed-precondition` for a file of it that cannot be read. */
  trustOf(policy: SigstorePolicy): Trust {
    const file = (name: string): TrustFile => {
      const { text, error } = this.#files.get(name) ?? {};
      if (text === undefined) throw unreadable(name, error ?? new Error("it was not read"));
      return { name, text };
    };
    return {
      keys: policy.keys.map(file),
      identities: policy.identities,
      trustedRoot: policy.trustedRoot === "" ? undefined : file(policy.trustedRoot),
      fulcioRoots: policy.fulcioRoots.map(file),
      rekorKeys: policy.rekorKeys.map(file),
      ctKeys: policy.ctKeys.map(file),
      transparencyLog: policy.transparencyLog,
      predicateTypes: policy.predicateTypes,
    };
  }
}

/** Its text, or why it could not be read. */
interface ReadFile {
  readonly text?: string;
  readonly error?: unknown;
}

async function stamp(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [path, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch {
    return `${path} unreadable`;
  }
}

async function read(path: string): Promise<ReadFile> {
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) throw new Error(`it has more than ${maxFileBytes} bytes`);
    return { text: await readFile(path, "utf8") };
  } catch (error) {
    return { error };
  }
}

function unreadable(path: string, cause: unknown): RuntimeError {
  const text = `read "${path}" of images.verification.policies: ${messageOf(cause)}`;
  return new RuntimeError("failed-precondition", text, { cause });
}
