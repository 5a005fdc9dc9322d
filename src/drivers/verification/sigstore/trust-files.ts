import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Trust, TrustFile } from "../../../verify/protocol.ts";
import { filesOf, type SigstorePolicy } from "./policies.ts";

const maxFileBytes = 4 * 1024 * 1024;

/** The files of policies. They are read again when one of them has changed. */
export class TrustFiles {
  readonly #paths: readonly string[];
  readonly #texts = new Map<string, string>();
  #seen = "";
  #digest = "";

  constructor(policies: readonly SigstorePolicy[]) {
    this.#paths = [...new Set(policies.flatMap(filesOf))].sort();
  }

  /** A digest of their content. `failed-precondition` for one that cannot be read. */
  async generation(): Promise<string> {
    const seen = (await Promise.all(this.#paths.map(stamp))).join("\n");
    if (seen === this.#seen && this.#digest !== "") return this.#digest;
    const texts = await Promise.all(this.#paths.map(read));
    const hash = createHash("sha256");
    this.#texts.clear();
    for (const [at, path] of this.#paths.entries()) {
      const text = texts[at] ?? "";
      this.#texts.set(path, text);
      hash.update(`${path}\0${text.length}\0${text}`);
    }
    this.#seen = seen;
    this.#digest = hash.digest("hex");
    return this.#digest;
  }

  /** What a policy trusts, as read last. */
  trustOf(policy: SigstorePolicy): Trust {
    const file = (name: string): TrustFile => ({ name, text: this.#texts.get(name) ?? "" });
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

async function stamp(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [path, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

async function read(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > maxFileBytes) throw new Error(`it has more than ${maxFileBytes} bytes`);
    return await readFile(path, "utf8");
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): RuntimeError {
  const text = `read "${path}" of images.verification.policies: ${messageOf(cause)}`;
  return new RuntimeError("failed-precondition", text, { cause });
}
