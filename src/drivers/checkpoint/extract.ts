import { mkdir, rename, rmdir } from "node:fs/promises";
import { constants } from "node:fs";
import { join } from "node:path";
import { isCheckpointFile, isPodCheckpointFile } from "../../base/checkpoint-names.ts";
import { RuntimeError } from "../../base/errors.ts";
import { checkpointFiles, podCheckpointFiles } from "../../core/checkpoint/index.ts";
import { openRegular } from "../../linux/file/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import { runArchiveProgram } from "./programs.ts";

/** A checkpoint of a thousand processes has fewer files. */
export const maxFiles = 20_000;

/** The archive of a container's checkpoint: a file, whose path is its name, or bytes. */
export interface ArchiveSource {
  readonly name: string;
  readonly chunks?: AsyncIterable<Uint8Array>;
}

interface ExtractOptions {
  readonly program: OwnProgram | undefined;
  readonly archive: ArchiveSource;
  /** An empty directory for its files. */
  readonly directory: string;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Reads an archive into a directory by a process of its own, which is nobody, sees only a directory in it, and makes
 * files with numbers for names. They get their names and their owner here, after the process has ended. Returns the names.
 */
export async function extract(options: ExtractOptions): Promise<readonly string[]> {
  const { program, archive, directory, maxBytes, signal } = options;
  const received = join(directory, ".received");
  await mkdir(received, { mode: 0o700 });
  const run = {
    program,
    args: ["checkpoint", JSON.stringify(limitsOf(maxBytes, directory))],
    limits: { confinement: "archive-reader", root: received },
    signal,
  } as const;
  const report = await (archive.chunks === undefined
    ? readFile(archive.name, run)
    : readChunks(archive.chunks, run));
  await mkdir(join(directory, checkpointFiles.images), { mode: 0o700 });
  const names = parseReport(report["checkpoint"], isCheckpointFile);
  await place(names, received, directory);
  return names;
}

type Reading = Omit<Parameters<typeof runArchiveProgram>[0], "streams" | "input">;
type Report = ReturnType<typeof runArchiveProgram>;

async function readFile(path: string, run: Reading): Report {
  await using file = await openRegular(path, constants.O_RDONLY, `open "${path}"`);
  return await runArchiveProgram({ ...run, streams: { stdin: file.fd } });
}

/** What makes the chunks has ended when this settles. */
async function readChunks(chunks: AsyncIterable<Uint8Array>, run: Reading): Report {
  const source = chunks[Symbol.asyncIterator]();
  try {
    const input = { [Symbol.asyncIterator]: () => source };
    return await runArchiveProgram({ ...run, streams: {}, input });
  } finally {
    await source.return?.();
  }
}

/** The directory that {@link extractSnapshot} makes for the checkpoint of one container. */
export const loneContainer = ".container";

/**
 * As {@link extract}, for the archive of a pod's checkpoint, whose bytes are read once; or for that of one container, whose
 * files are in the directory {@link loneContainer} then.
 */
export async function extractSnapshot(
  options: Omit<ExtractOptions, "archive"> & { readonly chunks: AsyncIterable<Uint8Array> },
): Promise<{ readonly names: readonly string[]; readonly isPod: boolean }> {
  const { program, chunks, directory, maxBytes, signal } = options;
  const received = join(directory, ".received");
  await mkdir(received, { mode: 0o700 });
  const report = await runArchiveProgram({
    program,
    args: ["snapshot", JSON.stringify(limitsOf(maxBytes, directory))],
    limits: { confinement: "archive-reader", root: received },
    streams: {},
    input: chunks,
    signal,
  });
  const { checkpoint } = report;
  const listed: readonly unknown[] = Array.isArray(checkpoint) ? checkpoint : [];
  const [first] = listed as readonly ({ readonly name?: unknown } | null)[];
  if (typeof first?.name === "string" && isCheckpointFile(first.name)) {
    const names = parseReport(checkpoint, isCheckpointFile);
    const own = join(directory, loneContainer);
    await mkdir(join(own, checkpointFiles.images), { recursive: true, mode: 0o700 });
    await place(names, received, own);
    return { names, isPod: false };
  }
  const names = parseReport(checkpoint, isPodCheckpointFile);
  for (const name of names) {
    const [containers = "", container] = name.split("/");
    if (container === undefined) continue;
    const images = join(directory, containers, container, checkpointFiles.images);
    await mkdir(images, { recursive: true, mode: 0o700 });
  }
  await mkdir(join(directory, podCheckpointFiles.containers), { recursive: true, mode: 0o700 });
  await place(names, received, directory);
  return { names, isPod: true };
}

/** Gives the files 0, 1, ... their names and their owner. */
async function place(names: readonly string[], received: string, to: string): Promise<void> {
  for (const [number, name] of names.entries()) {
    const from = join(received, String(number));
    await using own = await openRegular(from, constants.O_RDONLY, `read "${name}"`);
    await own.chown(0, 0);
    await own.chmod(0o600);
    await rename(from, join(to, name));
  }
  await rmdir(received);
}

/** As unpack/limits.ts reads them. */
export function limitsOf(maxBytes: number, disk: string): object {
  const bytes = { most: maxBytes, why: `${maxBytes} bytes ([checkpoint] max_bytes)` };
  return { disk, bytes, entries: { most: maxFiles, why: `${maxFiles} files` } };
}

/** The names of the files 0, 1, ... The process may have been taken over by what it read: nothing it says is trusted. */
function parseReport(listed: unknown, isFile: (name: string) => boolean): readonly string[] {
  const names = new Set<string>();
  const files: readonly unknown[] = Array.isArray(listed) ? listed : [undefined];
  for (const [number, each] of files.entries()) {
    const { name, file } = (each ?? {}) as { readonly name?: unknown; readonly file?: unknown };
    if (typeof name !== "string" || file !== number || !isFile(name) || names.has(name)) {
      throw new RuntimeError("internal", "the reader of the archive gave a wrong report");
    }
    names.add(name);
  }
  return [...names];
}
