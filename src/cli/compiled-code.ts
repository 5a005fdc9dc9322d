import { hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Script } from "node:vm";

/** A program that can be run, and whose compiled code can be saved. */
export interface Program {
  /** Evaluates the program. Returns a function of `parameters`. */
  readonly run: () => unknown;
  /**
   * Saves the code that is compiled so far for the next start; undefined if it is saved already, or if there
   * is no directory for it. Blocks the event loop for 10 ms. Rejects when the file cannot be written.
   */
  readonly save: (() => Promise<void>) | undefined;
  /** Removes what earlier starts saved, so that the next start compiles everything again. */
  readonly discard: () => Promise<void>;
}

const digestBytes = 32;
const idPattern = /^\/\*([0-9a-f]{16})\*\//;

/**
 * Reads the program in `file`, which begins with its id in a comment (scripts/build.sh), as a
 * function of `parameters`, with the code that an earlier start has compiled. The compile cache of Node.js
 * holds only code that is compiled when a file is loaded; this cache also holds functions that are compiled
 * when they run, which is half of the start time.
 *
 * The cache is in `directory`; undefined disables it. A cache that is unreadable, damaged, or of another
 * program, Node.js version or set of flags is ignored.
 */
export function readProgram(
  file: string,
  parameters: readonly string[],
  directory: string | undefined,
): Program {
  const text = readFileSync(file, "latin1"); // esbuild writes ASCII
  const id = idPattern.exec(text.slice(0, 20))?.[1];
  const path =
    directory === undefined || id === undefined ? undefined : join(directory, cacheName(id));
  const cached = path === undefined ? undefined : readCache(path);
  const source = `(function(${parameters.join(",")}){${text}\n})`;
  const script = new Script(source, {
    filename: file,
    ...(cached === undefined ? {} : { cachedData: cached }),
  });
  const isUsed = cached !== undefined && script.cachedDataRejected === false;
  return {
    run: () => script.runInThisContext() as unknown,
    save:
      isUsed || directory === undefined || path === undefined
        ? undefined
        : () => writeCache(directory, path, script.createCachedData()),
    discard: async () => {
      if (path !== undefined) await rm(path, { force: true });
    },
  };
}

function cacheName(id: string): string {
  return `serve-${id}`;
}

/**
 * V8 does not verify cached code: damaged code would crash the process, and malicious code would run. So the
 * cache has a digest, and a file that other users can write is ignored.
 */
function readCache(path: string): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { uid, mode } = fstatSync(fd);
    if (uid !== process.geteuid?.() || (mode & 0o022) !== 0) return undefined;
    const bytes = readFileSync(fd);
    const data = bytes.subarray(digestBytes);
    return bytes.subarray(0, digestBytes).equals(hash("sha256", data, "buffer")) ? data : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Writes the cache with a rename, without a sync: the digest of a truncated file does not match. */
async function writeCache(directory: string, path: string, data: Uint8Array): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  try {
    await writeFile(temporary, Buffer.concat([hash("sha256", data, "buffer"), data]), {
      mode: 0o600,
    });
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  // Remove the files of earlier builds, and of a daemon that was killed before the rename.
  const others = (await readdir(directory)).filter((name) => /^serve-[0-9a-f]{16}/.test(name));
  for (const name of others.filter((each) => join(directory, each) !== path)) {
    await rm(join(directory, name), { force: true });
  }
}
