import { link, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { copyAttributes } from "../../linux/file/index.ts";
import type { DiskHeadroom } from "../../linux/host/index.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";
import type { FromBelow, LowerLink } from "./from-below.ts";
import { copyLower } from "./lower-copy.ts";
import {
  attributeNames,
  type LookupBudget,
  type LowerFile,
  type LowerFiles,
  openDirectory,
} from "./lower-files.ts";

/** Hard links of one layer to one file of a lower layer. */
const maxLinksToOne = 1000;

/** What bounds the work and the space of an image. */
interface CopyUpLimits {
  readonly room: DiskHeadroom;
  readonly budget: LookupBudget;
}

/**
 * Makes the files that one layer shares with the layers below it, in a directory that is mounted on the layer:
 * the targets of its hard links, as hard links to the lower layers' files or copies of those in images, and its directories that no entry
 * describes, with the attributes of the lower ones. Their parents get the attributes of the layer's, because
 * in overlayfs the topmost layer's count.
 */
export class CopyUp {
  readonly #target: string;
  readonly #own: Buffer;
  readonly #lower: LowerFiles;
  readonly #room: DiskHeadroom;
  readonly #budget: LookupBudget;
  /** Directories of the layer that get the attributes of a lower one, by path. */
  readonly #models = new Map<string, Buffer>();
  /** How many links lead to each file, by target. */
  readonly #links = new Map<string, number>();
  /** Files of images that were copied, and the copies. */
  readonly #copies = new Map<string, Buffer>();
  /** Directories created so far, parents first, and the one that each gets its attributes from. */
  readonly #made = new Map<string, Buffer>();

  constructor(target: string, own: string, lower: LowerFiles, { room, budget }: CopyUpLimits) {
    this.#room = room;
    this.#budget = budget;
    this.#target = target;
    this.#own = Buffer.from(own);
    this.#lower = lower;
  }

  /**
   * Creates and fills the directory. False when it would be empty. `invalid-argument`
   * for a hard link to a file that no lower layer has, `resource-exhausted` before the disk is full.
   */
  async make({ links, directories }: FromBelow): Promise<boolean> {
    const special: string[] = [];
    for (const path of directories) {
      const found = await this.#lower.find(path);
      if (found?.info.isDirectory() !== true) continue;
      this.#models.set(path, found.path);
      if (await isSpecial(found)) special.push(path);
    }
    for (const path of special) await this.#makeDirectory(path);
    for (const each of links) await this.#makeLink(each);
    // Last: what is made in a directory changes its times.
    for (const [path, model] of this.#made) await this.#describe(path, model);
    return this.#made.size > 0;
  }

  async #makeLink({ path, target }: LowerLink): Promise<void> {
    const found = await this.#lower.find(target);
    if (found === undefined) {
      throw brokenLink(path, target, "no layer below has it");
    }
    if (found.info.isDirectory()) {
      throw brokenLink(path, target, "it is a directory, which has no hard links");
    }
    this.#countLink(path, target);
    await this.#makeDirectory(path.slice(0, path.lastIndexOf("/")));
    try {
      await this.#linkOrCopy(found, this.#pathOf(path));
    } catch (cause) {
      const code = errnoCode(cause);
      if (code === undefined) throw cause;
      throw new SystemError(`link to "${printable(target)}" of a lower layer`, code, { cause });
    }
  }

  /** A file of an image is copied once, and further links lead to the copy. */
  async #linkOrCopy(found: LowerFile, to: Buffer): Promise<void> {
    const name = found.path.toString("latin1");
    const source = this.#copies.get(name) ?? found.path;
    try {
      await link(source, to);
    } catch (cause) {
      if (errnoCode(cause) !== "EXDEV") throw cause;
      this.#budget.spendCopy(found.info.size);
      await copyLower(found, to, this.#room, dirname(this.#target));
      this.#copies.set(name, to);
    }
  }

  /** A file has a limited number of links, on ext4 65,000, which other images on the same layer need, too. */
  #countLink(path: string, target: string): void {
    const count = (this.#links.get(target) ?? 0) + 1;
    if (count > maxLinksToOne) {
      throw brokenLink(path, target, `more than ${maxLinksToOne} links of the layer lead to it`);
    }
    this.#links.set(target, count);
  }

  async #makeDirectory(path: string): Promise<void> {
    if (this.#made.has(path)) return;
    if (path !== "") await this.#makeDirectory(path.slice(0, path.lastIndexOf("/")));
    this.#budget.spend(path.length);
    await this.#room.reserve(dirname(this.#target), 4096, 1);
    await mkdir(this.#pathOf(path), { mode: 0o700 });
    const own = Buffer.concat([this.#own, Buffer.from(path, "latin1")]);
    this.#made.set(path, this.#models.get(path) ?? own);
  }

  async #describe(path: string, model: Buffer): Promise<void> {
    await using from = await openDirectory(model);
    await using to = await openDirectory(this.#pathOf(path));
    await copyAttributes(from.fd, to.fd);
  }

  #pathOf(path: string): Buffer {
    return Buffer.concat([Buffer.from(this.#target), Buffer.from(path, "latin1")]);
  }
}

/** Whether a directory differs from one that the unpacker creates without an entry. */
async function isSpecial({ path, info }: LowerFile): Promise<boolean> {
  if (info.uid !== 0 || info.gid !== 0 || (info.mode & 0o7777) !== 0o755) return true;
  const names = await attributeNames(path);
  return names.some((name) => !name.startsWith("trusted.") && name !== "security.selinux");
}

function brokenLink(path: string, target: string, why: string): RuntimeError {
  return new RuntimeError(
    "invalid-argument",
    `link "${printable(path)}" to "${printable(target)}", which the layer does not bring: ${why}`,
  );
}

function printable(bytes: string): string {
  return JSON.stringify(Buffer.from(bytes, "latin1").toString("utf8")).slice(1, -1);
}
