import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, isDigest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { ImageUseRecords } from "../../core/image/index.ts";
import { errnoCode } from "../../base/system-error.ts";

/** The file in the root directory. */
const name = "image-uses.json";

/**
 * The last uses of images as a file of its own: it is replaced once a minute, and never synced. After a power
 * cut it may be empty, and then all images count as used.
 */
export class FileImageUses implements ImageUseRecords {
  readonly #path: string;
  readonly #log: Logger;
  #written = "";

  constructor(root: string, log: Logger) {
    this.#path = join(root, name);
    this.#log = log;
  }

  async load(): Promise<ReadonlyMap<Digest, number>> {
    try {
      this.#written = await readFile(this.#path, "utf8");
      return parse(this.#written);
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") {
        this.#log.warn(`all images count as used now: cannot read "${this.#path}"`, {
          error: messageOf(cause),
        });
      }
      return new Map();
    }
  }

  async save(uses: ReadonlyMap<Digest, number>): Promise<void> {
    const text = `${JSON.stringify({ version: 1, uses: Object.fromEntries(uses) })}\n`;
    if (text === this.#written) return;
    const next = `${this.#path}.new`;
    try {
      await writeFile(next, text, { mode: 0o600 });
      await rename(next, this.#path);
      this.#written = text;
    } catch (cause) {
      this.#log.warn(`cannot write "${this.#path}"`, { error: messageOf(cause) });
    }
  }
}

function parse(text: string): ReadonlyMap<Digest, number> {
  const value: unknown = JSON.parse(text);
  const uses = new Map<Digest, number>();
  if (typeof value !== "object" || value === null || !("uses" in value)) return uses;
  for (const [id, time] of Object.entries(value.uses ?? {}) as [string, unknown][]) {
    if (isDigest(id) && typeof time === "number" && Number.isFinite(time)) uses.set(id, time);
  }
  return uses;
}
