// Reads archives of checkpoints, and what they say of changes, in the process of archive-main.ts.
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

import {
  checkpointEntry,
  type CheckpointEntry,
  podCheckpointEntry,
} from "../base/checkpoint-names.ts";
import { RuntimeError } from "../base/errors.ts";
import type { BlobInput } from "./blob-input.ts";
import { type CheckpointFile, CheckpointFiles } from "./checkpoint-files.ts";
import { decompressAll } from "./decompress-all.ts";
import { layerPath } from "./layer-files.ts";
import { LimitedSink, type UnpackLimits } from "./limits.ts";
import { BLOCK, brokenArchive } from "./tar-header.ts";
import { defaultLimits, TarReader, type TarSink } from "./tar-reader.ts";
import { archiveEnd, headersOf } from "./tar-writer.ts";

/** Keeps the files of an archive. `invalid-argument` also for one that is cut, or has other bytes than zeros behind it. */
export async function readCheckpoint(
  input: BlobInput,
  limits: UnpackLimits,
  entryOf: (path: string) => CheckpointEntry | undefined = checkpointEntry,
): Promise<{ readonly checkpoint: readonly CheckpointFile[] }> {
  const kept = new CheckpointFiles(entryOf);
  const sink = new LimitedSink(kept, limits);
  const headers = 4 * (limits.entries?.most ?? defaultLimits.entries) + 4;
  const reader = new TarReader(sink, { ...defaultLimits, entries: headers });
  await decompressAll(input, (piece) => {
    sink.archive(piece.length);
    const rest = piece.subarray(reader.write(piece));
    if (hasData(rest)) throw brokenArchive("other bytes than zeros follow the end of the archive");
  });
  reader.end();
  if (!reader.isEnded) throw brokenArchive("its end is missing: it was cut");
  return { checkpoint: kept.files };
}

/** As {@link readCheckpoint}, for the archive of a pod's checkpoint or of a container's: its first file decides. */
export async function readSnapshot(
  input: BlobInput,
  limits: UnpackLimits,
): Promise<{ readonly checkpoint: readonly CheckpointFile[] }> {
  let entryOf: typeof checkpointEntry | undefined;
  return await readCheckpoint(input, limits, (path) => {
    if (path === "." || path === "./") return { use: "directory" };
    entryOf ??= podCheckpointEntry(path) === undefined ? checkpointEntry : podCheckpointEntry;
    return entryOf(path);
  });
}

/** The descriptor with the list of deleted paths. */
const DELETED = 4;
const maxDeletedBytes = 64 * 1024 * 1024;

/**
 * Writes the archive of a layer to the file 0: a whiteout for each path of the list, and then the archive of the changes
 * as it is, decompressed. The unpacker reads it like every layer. Whiteouts are first, since nothing can follow an
 * archive; they hide files of lower layers only.
 */
export async function readChanges(
  input: BlobInput,
  limits: UnpackLimits,
): Promise<{ readonly size: number }> {
  const room = new LimitedSink(nothing, limits);
  const fd = openSync("/0", "wx", 0o600);
  let size = 0;
  const write = (bytes: Buffer): void => {
    room.archive(bytes.length);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    size += bytes.length;
  };
  for (const path of readDeleted()) write(whiteoutOf(path));
  const whiteouts = size;
  await decompressAll(input, write);
  if (size === whiteouts) write(archiveEnd);
  closeSync(fd);
  return { size };
}

/** A JSON list of absolute or relative paths. */
function readDeleted(): readonly string[] {
  const { size } = fstatSync(DELETED);
  if (size > maxDeletedBytes) throw wrongList(`it has more than ${maxDeletedBytes} bytes`);
  const bytes = Buffer.alloc(size);
  let at = 0;
  for (let count = -1; at < size && count !== 0; at += count) {
    count = readSync(DELETED, bytes, at, size - at, at);
  }
  let list: unknown = [];
  try {
    if (at > 0) list = JSON.parse(bytes.toString("utf8", 0, at));
  } catch {
    throw wrongList("it is not JSON");
  }
  // Go writes a list without elements so.
  if (list === null) return [];
  if (!Array.isArray(list) || !list.every((each) => typeof each === "string")) {
    throw wrongList("it must be a list of paths");
  }
  return list;
}

function whiteoutOf(path: string): Buffer {
  const bytes = Buffer.from(path, "utf8").toString("latin1");
  const name = layerPath(bytes).slice(1);
  if (name === "" || name.includes("\0")) throw wrongList("a path is empty or has a NUL");
  const slash = name.lastIndexOf("/") + 1;
  const hidden = `${name.slice(0, slash)}.wh.${name.slice(slash)}`;
  return headersOf({ name: hidden, type: "0", mode: 0o600 });
}

function wrongList(what: string): RuntimeError {
  return new RuntimeError("invalid-argument", `read "deleted.files" of a checkpoint: ${what}`);
}

const nothing: TarSink = {
  entry: () => undefined,
  data: () => undefined,
  hole: () => undefined,
  endEntry: () => undefined,
};

const zeros = Buffer.alloc(64 * BLOCK);

function hasData(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length);
    if (!part.equals(zeros.subarray(0, part.length))) return true;
  }
  return false;
}
