import { hash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Script } from "node:vm";

/** A program that was read, and what its next start would be spared. */
export interface Program {
  /** Runs it: gives a function of `parameters`. */
  readonly run: () => unknown;
  /**
   * Keeps what is compiled by now for the next start; undefined where it is kept already, or nowhere.
   * Blocks the event loop for 10 ms. Rejects when it cannot be written.
   */
  readonly keep: (() => Promise<void>) | undefined;
  /** Removes what earlier starts kept, so that the next start compiles everything again. */
  readonly discard: () => Promise<void>;
}

const digestBytes = 32;
const idPattern = /^\/\*([0-9a-f]{16})\*\//;

/**
 * Reads the program in `file`, whose first words are its id in a comment (scripts/build.sh), as a
 * function of `parameters`, with the code that a start like this one compiled before. Node's own compile
 * cache holds what is compiled when a file is read; here is also what is compiled as it runs: the
 * half of a start.
 *
 * `directory` is where it is kept; undefined means nowhere. What is not readable, is of another program, Node.js or
 * set of flags, or is damaged, is as if it were not there.
 */
export function readProgram(
  file: string,
  parameters: readonly string[],
  directory: string | undefined,
): Program {
  const text = readFileSync(file, "latin1"); // esbuild writes ASCII
  const id = idPattern.exec(text.slice(0, 20))?.[1];
  const path =
    directory === undefined || id === undefined ? undefined : join(directory, nameOf(id));
  const kept = path === undefined ? undefined : readKept(path);
  const source = `(function(${parameters.join(",")}){${text}\n})`;
  const script = new Script(source, {
    filename: file,
    ...(kept === undefined ? {} : { cachedData: kept }),
  });
  const isUsed = kept !== undefined && script.cachedDataRejected === false;
  return {
    run: () => script.runInThisContext() as unknown,
    keep:
      isUsed || directory === undefined || path === undefined
        ? undefined
        : () => write(directory, path, script.createCachedData()),
    discard: async () => {
      if (path !== undefined) await rm(path, { force: true });
    },
  };
}

function nameOf(id: string): string {
  return `serve-${id}`;
}

/**
 * V8 does not look at what it is given: damaged code would end the process, and it does whatever its writer
 * wants. So it has a digest, and a file that others could have written is as if it were not there.
 */
function readKept(path: string): Uint8Array | undefined {
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

/** By rename, without a sync: what a power cut leaves of it has another digest. */
async function write(directory: string, path: string, data: Uint8Array): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unfinished = `${path}.${process.pid}`;
  try {
    await writeFile(unfinished, Buffer.concat([hash("sha256", data, "buffer"), data]), {
      mode: 0o600,
    });
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
  // Of earlier builds; and of a daemon that was killed in between.
  const others = (await readdir(directory)).filter((name) => /^serve-[0-9a-f]{16}/.test(name));
  for (const name of others.filter((each) => join(directory, each) !== path)) {
    await rm(join(directory, name), { force: true });
  }
}
