import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { Digest } from "../../../base/digest.ts";
import { isKind, messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ImageReference } from "../../../core/image/index.ts";
import type { ProxyEnv } from "../../../wire/local-address.ts";
import { isMissing, readIfPresent } from "./bounded-file.ts";
import { readSignatures, shownUrl } from "./lookaside.ts";

// 32 signatures of 64 KiB in base64.
const maxBytes = 3 * 1024 * 1024;
/** How many manifests have kept signatures; those that were used longest ago are removed. */
const maxFiles = 1024;

/**
 * The signatures that stores on the network had, so that containers of an image start while a store does not
 * answer. They are verified at each use, like those that a store sends.
 */
export class KeptSignatures {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(options: { readonly directory: string; readonly log: Logger }) {
    this.#directory = options.directory;
    this.#log = options.log;
  }

  /**
   * The signatures in a store; those that it had at the last answer if it does not answer. Rejects as
   * {@link readSignatures}, and with `unavailable` only where none are kept.
   */
  async read(
    store: URL,
    image: { readonly reference: ImageReference; readonly digest: Digest },
    options: { readonly env: ProxyEnv; readonly signal: AbortSignal },
  ): Promise<readonly Uint8Array[]> {
    if (store.protocol === "file:") return readSignatures(store, image, options);
    const path = this.#pathOf(store, image);
    try {
      const found = await readSignatures(store, image, options);
      await this.#keep(path, found);
      return found;
    } catch (error) {
      if (!isKind(error, "unavailable")) throw error;
      const kept = await this.#kept(path);
      if (kept.length === 0) throw error;
      const fields = { store: shownUrl(store), digest: image.digest, error: messageOf(error) };
      this.#log.warn("the signatures are those of the last answer", fields);
      return kept;
    }
  }

  #pathOf(
    store: URL,
    { reference, digest }: { readonly reference: ImageReference; readonly digest: Digest },
  ): string {
    const key = JSON.stringify([shownUrl(store), reference.repository, digest]);
    return join(this.#directory, `${createHash("sha256").update(key).digest("hex")}.json`);
  }

  /** A failure costs only the start during an outage. */
  async #keep(path: string, signatures: readonly Uint8Array[]): Promise<void> {
    try {
      if (signatures.length === 0) {
        await rm(path, { force: true });
        return;
      }
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const text = JSON.stringify(signatures.map((bytes) => Buffer.from(bytes).toString("base64")));
      const written = join(this.#directory, `.${randomUUID()}`);
      await writeFile(written, text, { mode: 0o600, flush: true });
      await rename(written, path);
      await this.#removeOldest();
    } catch (error) {
      this.#log.warn("cannot keep signatures", { error: messageOf(error) });
    }
  }

  async #kept(path: string): Promise<readonly Uint8Array[]> {
    try {
      const bytes = await readIfPresent(path, maxBytes);
      if (bytes === undefined) return [];
      const items: unknown = JSON.parse(bytes.toString("utf8"));
      if (!Array.isArray(items)) return [];
      const now = new Date();
      await utimes(path, now, now);
      return items.flatMap((item) =>
        typeof item === "string" ? [Buffer.from(item, "base64")] : [],
      );
    } catch (error) {
      this.#log.warn("cannot read kept signatures", { path, error: messageOf(error) });
      return [];
    }
  }

  async #removeOldest(): Promise<void> {
    const names = await readdir(this.#directory);
    if (names.length <= maxFiles) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#directory, name);
        return { path, usedMs: await lastUse(path) };
      }),
    );
    files.sort((one, other) => other.usedMs - one.usedMs);
    // A few at once, so that this does not happen at each pull.
    for (const { path } of files.slice(maxFiles - 64)) await rm(path, { force: true });
  }
}

async function lastUse(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (cause) {
    if (isMissing(cause)) return 0;
    throw cause;
  }
}
