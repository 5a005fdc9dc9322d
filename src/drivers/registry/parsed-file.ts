import { type BigIntStats, readFileSync, statSync } from "node:fs";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import { codeOf } from "./failure.ts";

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/**
 * A small local file of the administrator, which is parsed again when it has changed. Its values are the
 * same object until then, and so is the error of one that cannot be used.
 */
export class ParsedFile<T> {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #parse: (text: string, path: string) => T;
  #identity = "";
  #outcome: Outcome<T> | undefined;
  #missing: RuntimeError | undefined;

  constructor(
    path: string,
    options: {
      readonly maxBytes: number;
      readonly parse: (text: string, path: string) => T;
    },
  ) {
    this.#path = path;
    this.#maxBytes = options.maxBytes;
    this.#parse = options.parse;
  }

  /**
   * Undefined where there is no such file; `failed-precondition` for one that cannot be read, and
   * what `parse` throws.
   */
  read(): T | undefined {
    const info = this.#stat();
    if (info === undefined) {
      this.#identity = "";
      return undefined;
    }
    const { dev, ino, size, mtimeNs, ctimeNs } = info;
    const identity = [dev, ino, size, mtimeNs, ctimeNs].join(" ");
    if (this.#outcome === undefined || identity !== this.#identity) {
      this.#outcome = this.#parsed(info);
      this.#identity = identity;
    }
    if ("error" in this.#outcome) throw this.#outcome.error;
    return this.#outcome.value;
  }

  /** As {@link read}; `failed-precondition` for a missing file, too. */
  readRequired(): T {
    const value = this.read();
    if (value === undefined) throw (this.#missing ??= this.#refusal("there is no such file"));
    this.#missing = undefined;
    return value;
  }

  #stat(): BigIntStats | undefined {
    try {
      return statSync(this.#path, { bigint: true });
    } catch (cause) {
      if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR") return undefined;
      throw this.#refusal(messageOf(cause), cause);
    }
  }

  #parsed(info: BigIntStats): Outcome<T> {
    try {
      if (!info.isFile()) throw this.#refusal("it is not a file");
      if (info.size > BigInt(this.#maxBytes)) {
        throw this.#refusal(`it has ${info.size} bytes, more than ${this.#maxBytes}`);
      }
      return { value: this.#parse(this.#text(), this.#path) };
    } catch (error) {
      return { error };
    }
  }

  #text(): string {
    try {
      return readFileSync(this.#path, "utf8");
    } catch (cause) {
      throw this.#refusal(messageOf(cause), cause);
    }
  }

  #refusal(why: string, cause?: unknown): RuntimeError {
    return new RuntimeError("failed-precondition", `read "${this.#path}": ${why}`, { cause });
  }
}
