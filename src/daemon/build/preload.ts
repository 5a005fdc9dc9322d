import { createReadStream } from "node:fs";
import { readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { type ImageContext, loadImages } from "../../engine/image/index.ts";

/** What a preload needs. */
export interface PreloadOptions {
  /** `images.preload_dir`. */
  readonly directory: string;
  /** The root of the configuration: what was loaded is remembered there. */
  readonly root: string;
  readonly images: ImageContext;
}

/** A file that was loaded. */
interface Loaded {
  readonly size: string;
  readonly mtimeNs: string;
  /** The ids of its images. */
  readonly images: readonly string[];
}

const archives = /^[^.].*\.(tar|tar\.gz|tgz|tar\.zst|tar\.zstd)$/;
const chunkBytes = 256 * 1024;

/**
 * Loads the archives of a directory in the order of their names, each one alone. An archive that was loaded before, by
 * its name, size and time, is skipped while all of its images exist. A failure is one line of the log, and the next
 * archive follows.
 */
export async function preloadImages(options: PreloadOptions, signal: AbortSignal): Promise<void> {
  const { directory, root, images } = options;
  const names = await archivesIn(options);
  const file = join(root, "preloaded.json");
  const known = await readLoaded(file);
  for (const name of known.keys()) if (!names.includes(name)) known.delete(name);
  for (const name of names) {
    const path = join(directory, name);
    try {
      const { size, mtimeNs } = await stat(path, { bigint: true });
      const now = { size: String(size), mtimeNs: String(mtimeNs) };
      const before = known.get(name);
      const isSame = before?.size === now.size && before.mtimeNs === now.mtimeNs;
      if (isSame && before.images.every((id) => images.store.find(id) !== undefined)) continue;
      known.set(name, { ...now, images: await load(images, path, signal) });
      await writeLoaded(file, known);
    } catch (error) {
      signal.throwIfAborted();
      images.log.error(`failed to preload "${path}": ${messageOf(error)}`);
    }
  }
}

async function archivesIn({ directory, images }: PreloadOptions): Promise<readonly string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => archives.test(name)).sort();
  } catch (cause) {
    const why =
      errnoCode(cause) === "ENOENT"
        ? 'it does not exist; create it, or set it to ""'
        : messageOf(cause);
    images.log.error(`cannot read images.preload_dir "${directory}": ${why}`);
    return [];
  }
}

async function load(
  images: ImageContext,
  path: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const chunks = createReadStream(path, { highWaterMark: chunkBytes });
  const ids: string[] = [];
  const names: string[] = [];
  for await (const loaded of loadImages(images, chunks, {}, signal)) {
    ids.push(loaded.id);
    names.push(...(loaded.names.length === 0 ? [loaded.id] : loaded.names));
  }
  images.log.info("preloaded images", { archive: path, images: names });
  return ids;
}

async function readLoaded(file: string): Promise<Map<string, Loaded>> {
  const known = new Map<string, Loaded>();
  try {
    const value = JSON.parse(await readFile(file, "utf8")) as { readonly files?: unknown };
    for (const [name, each] of Object.entries(value.files ?? {})) {
      const { size, mtimeNs, images } = each as Readonly<Record<string, unknown>>;
      if (typeof size !== "string" || typeof mtimeNs !== "string" || !Array.isArray(images))
        continue;
      const ids = images.filter((id) => typeof id === "string");
      known.set(name, { size, mtimeNs, images: ids });
    }
  } catch {
    // Without it, all archives are loaded again, which changes nothing.
  }
  return known;
}

async function writeLoaded(file: string, known: ReadonlyMap<string, Loaded>): Promise<void> {
  const next = `${file}.new`;
  await writeFile(next, `${JSON.stringify({ version: 1, files: Object.fromEntries(known) })}\n`);
  await rename(next, file);
}
