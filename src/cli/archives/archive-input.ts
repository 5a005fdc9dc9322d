import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import process from "node:process";
import { systemError } from "../../base/system-error.ts";
import type { Command } from "../command-line/command.ts";
import { UsageError } from "../command-line/usage-error.ts";
import { packTar } from "../../client/files/tar-pack.ts";

/** The bytes of an archive. */
export interface ArchiveInput {
  /** For messages: the path, or "stdin". */
  readonly name: string;
  /** Undefined for stdin and directories. */
  readonly sizeBytes: number | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
}

const chunkBytes = 256 * 1024;

/**
 * An archive by its path: a file, a directory, which becomes an archive, or stdin for "-". Without a path it is
 * stdin, unless that is a terminal: then a UsageError of `command`.
 */
export async function openArchive(
  path: string | undefined,
  command: Command,
): Promise<ArchiveInput> {
  if (path === undefined || path === "-") {
    if (!process.stdin.isTTY) {
      return { name: "stdin", sizeBytes: undefined, chunks: process.stdin };
    }
    throw new UsageError("FILE is missing, and stdin is a terminal", command);
  }
  let stats;
  try {
    stats = await stat(path);
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
  if (!stats.isDirectory()) {
    const chunks = createReadStream(path, { highWaterMark: chunkBytes });
    return { name: path, sizeBytes: stats.isFile() ? stats.size : undefined, chunks };
  }
  // A layout has only files and directories.
  return { name: path, sizeBytes: undefined, chunks: packTar(path, ".", () => undefined) };
}
