import { constants, type Stats } from "node:fs";
import { lstat, open, readlink } from "node:fs/promises";
import { RuntimeError } from "../../base/errors.ts";
import { TooLarge } from "../../core/snapshot/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { xattrNames } from "../../linux/file/index.ts";

/** As many symbolic links as the kernel follows on one path (path_resolution(7)). */
const MAX_LINKS = 40;

/** How many lookups in lower layers an image may need: some 20 s of work. */
const MAX_LOOKUPS = 200_000;
/** A path of this length costs a lookup; the kernel walks a longer one as often as it has names. Bytes. */
const LOOKUP_BYTES = 256;
/** What an image may copy out of layers that are EROFS images. A hard link in a directory costs nothing instead. */
const MAX_COPIED_BYTES = 1024 * 1024 * 1024;

/**
 * The limit of lookups in lower layers for an image. Its layers define the lookups, and chains
 * of links let a small layer cause many of them.
 */
export class LookupBudget {
  readonly #signal: AbortSignal;
  #left: number;
  #copies = MAX_COPIED_BYTES;

  constructor(signal: AbortSignal, most = MAX_LOOKUPS) {
    this.#signal = signal;
    this.#left = most;
  }

  /** Before each lookup of a path. Throws the signal's reason, or `failed-precondition` when too many were made. */
  spend(pathBytes: number): void {
    this.#signal.throwIfAborted();
    this.#left -= 1 + Math.floor(pathBytes / LOOKUP_BYTES);
    if (this.#left >= 0) return;
    throw new TooLarge(
      "its hard links and directories need too many lookups in lower layers; " +
        "build the image with an entry for each directory, and fewer symbolic links in the paths of its files",
    );
  }

  /** Before a copy. Throws as {@link spend}, when the copies of the image are too large together. */
  spendCopy(bytes: number): void {
    this.#signal.throwIfAborted();
    this.#copies -= bytes;
    if (this.#copies >= 0) return;
    throw new TooLarge(
      `its hard links to files of lower layers need copies of more than ${MAX_COPIED_BYTES} bytes, because those ` +
        'layers are EROFS images; set images.layer_format = "directory" and pull the image again',
    );
  }
}

/** What a path leads to: a file of one layer, or a directory that several layers may have. */
export interface LowerFile {
  /** The path on disk. For a directory, that of the topmost layer, which defines the attributes. */
  readonly path: Buffer;
  readonly info: Stats;
}

/** A directory as overlayfs shows it: those of all layers that have it, topmost first. */
type Merged = readonly Buffer[];

/**
 * The files that layers show when they are stacked, found as overlayfs finds them (overlayfs.rst):
 * the topmost layer's, unless a whiteout or an opaque directory hides it. No mount, so that nothing but these
 * layers can be reached: each name is examined before it is followed, and only the daemon changes layers.
 */
export class LowerFiles {
  readonly #root: Merged;
  readonly #budget: LookupBudget;

  /** Directories of layers, topmost first, down to one that hides all below it. */
  constructor(directories: readonly string[], budget: LookupBudget) {
    this.#root = directories.map((directory) => Buffer.from(directory));
    this.#budget = budget;
  }

  /**
   * The file at a path, a byte string, of the root that the layers form; `undefined` for none. Symbolic
   * links in the path are followed and never lead out of it; a link at its end is not followed.
   */
  async find(path: string): Promise<LowerFile | undefined> {
    const rest = path.split("/").reverse();
    const above: Merged[] = [];
    let at = this.#root;
    let found: LowerFile | undefined;
    let links = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        at = above.pop() ?? this.#root;
        found = undefined;
        continue;
      }
      const next = await lookUp(at, name, this.#budget);
      if (next === undefined) return undefined;
      found = next.file;
      if (next.merged !== undefined) {
        above.push(at);
        at = next.merged;
        continue;
      }
      if (rest.every((part) => part === "")) return found;
      if (!found.info.isSymbolicLink()) return undefined;
      if (++links > MAX_LINKS) {
        throw new RuntimeError("invalid-argument", `find "${path}": too many symbolic links`);
      }
      const target = (await readlink(found.path, "buffer")).toString("latin1");
      rest.push(...target.split("/").reverse());
      if (!target.startsWith("/")) continue;
      at = this.#root;
      above.length = 0;
    }
    return found;
  }
}

interface Found {
  readonly file: LowerFile;
  /** Of a directory. */
  readonly merged: Merged | undefined;
}

async function lookUp(
  directories: Merged,
  name: string,
  budget: LookupBudget,
): Promise<Found | undefined> {
  const merged: Buffer[] = [];
  let file: LowerFile | undefined;
  for (const directory of directories) {
    budget.spend(directory.length);
    const path = Buffer.concat([directory, Buffer.from(`/${name}`, "latin1")]);
    const info = await lstatOrNothing(path);
    if (info === undefined) continue;
    if (!info.isDirectory()) {
      if (file !== undefined) break;
      return isWhiteout(info) ? undefined : { file: { path, info }, merged: undefined };
    }
    file ??= { path, info };
    merged.push(path);
    if (await isOpaque(path)) break;
  }
  return file === undefined ? undefined : { file, merged };
}

async function lstatOrNothing(path: Buffer): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw cause;
  }
}

function isWhiteout(info: Stats): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

async function isOpaque(directory: Buffer): Promise<boolean> {
  return (await attributeNames(directory)).includes("trusted.overlay.opaque");
}

/** The names of a directory's extended attributes. */
export async function attributeNames(directory: Buffer): Promise<readonly string[]> {
  await using file = await openDirectory(directory);
  return await xattrNames(file.fd);
}

/** Opens a directory of a layer, never through a symbolic link at the end. */
export async function openDirectory(directory: Buffer): ReturnType<typeof open> {
  return await open(directory, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}
