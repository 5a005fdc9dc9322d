/**
 * Receives an archive of images in a process of its own, or writes one (pack-main.ts). It reads the archive, which
 * may be compressed, from stdin, after it has changed its root to an empty directory (chroot), and reports on
 * stdout, in one line of JSON, the files that it kept there:
 *
 *   read LIMITS    keeps each file of the archive in a file, with its digest
 *   root LIMITS    keeps the archive itself in the file 0, with its digest and that of the plain tar
 *
 * For checkpoints of containers:
 *
 *   checkpoint LIMITS    keeps each file of the archive of a checkpoint in a file; snapshot, also of that of a pod
 *   layer LIMITS         makes the archive of a layer of what a container changed, in the file 0
 */
import { createHash } from "node:crypto";
import { writeSync } from "node:fs";
import process from "node:process";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";

import { kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { errnoCode, SystemError } from "../base/system-error.ts";
import { GzipInflater, openSha256, type Sha256 } from "../linux/blob/index.ts";
import { enterConfinement } from "../linux/process/index.ts";
import { type ArchiveFile, ArchiveFiles, type ArchiveLink, BlobFile } from "./archive-files.ts";
import { BlobInput, JobInput } from "./blob-input.ts";
import { readChanges, readCheckpoint, readSnapshot } from "./checkpoint-main.ts";
import type { CheckpointFile } from "./checkpoint-files.ts";
import { decompressAll } from "./decompress-all.ts";
import { explainFullDisk, LimitedSink, parseLimits, type UnpackLimits } from "./limits.ts";
import { isPackMode, runPacker } from "./pack-main.ts";
import { defaultLimits, TarReader, type TarSink } from "./tar-reader.ts";

const STDIN = 0;

type Reader = (input: BlobInput, limits: UnpackLimits) => Promise<ArchiveReport>;

const readers: Readonly<Record<string, Reader | undefined>> = {
  read: readFiles,
  root: readRoot,
  checkpoint: (input, limits) => readCheckpoint(input, limits),
  snapshot: readSnapshot,
  layer: readChanges,
};

/** The report about a received archive. */
export type ArchiveReport =
  | { readonly files: readonly ArchiveFile[]; readonly links: readonly ArchiveLink[] }
  | { readonly size: number; readonly digest: string; readonly diffId: string }
  | { readonly checkpoint: readonly CheckpointFile[] }
  | { readonly size: number }
  | { readonly error: string; readonly kind: string };

/** Does what the first argument says; returns the exit code. The process must end afterwards. */
export async function runArchiveProgram(args: readonly string[]): Promise<number> {
  const [mode] = args;
  return isPackMode(mode) ? runPacker(mode) : await runReceiver(args);
}

async function runReceiver(args: readonly string[]): Promise<number> {
  let report: ArchiveReport;
  try {
    report = await receive(args);
  } catch (error) {
    report = { error: messageOf(error), kind: kindOf(error) };
  }
  try {
    const text = Buffer.from(`${JSON.stringify(report)}\n`);
    for (let at = 0; at < text.length; ) at += writeSync(1, text, at);
  } catch {
    return 1; // the daemon no longer reads the report
  }
  return "error" in report ? 1 : 0;
}

async function receive(args: readonly string[]): Promise<ArchiveReport> {
  const [mode = "", limitsText] = args;
  const read = readers[mode];
  if (limitsText === undefined || args.length !== 2 || read === undefined) {
    const text = `read archive: its arguments must be ${Object.keys(readers).join(", ")}, and limits`;
    throw new RuntimeError("invalid-argument", text);
  }
  const limits = parseLimits(JSON.parse(limitsText));
  await warmUp();
  process.umask(0);
  enterConfinement("archive-reader");
  const hash = mode === "read" || mode === "root" ? openSha256() : noDigest;
  const input = new BlobInput(new JobInput(STDIN), Number.POSITIVE_INFINITY, hash);
  try {
    return await read(input, limits);
  } catch (error) {
    const code = errnoCode(error);
    const named =
      code === undefined || error instanceof RuntimeError
        ? error
        : new SystemError("keep the files of the archive", code, { cause: error });
    throw explainFullDisk(named, limits.disk);
  }
}

/** The daemon digests the files of checkpoints itself. */
const noDigest: Sha256 = {
  update: () => Promise.resolve(),
  hurry: () => undefined,
  digest: () => "",
};

/** Makes libraries load now what they load at first use: later they are not found. */
async function warmUp(): Promise<void> {
  const zipped = gzipSync("x");
  gunzipSync(zipped);
  await GzipInflater.open()?.inflate(zipped, Buffer.alloc(16));
  await openSha256().update(zipped);
  zstdDecompressSync(zstdCompressSync("x"));
  createHash("sha256").update("x").digest("hex");
  messageOf(new RuntimeError("unknown", "x"));
}

async function readFiles(input: BlobInput, limits: UnpackLimits): Promise<ArchiveReport> {
  const kept = new ArchiveFiles();
  const sink = new LimitedSink(kept, limits);
  const headers = 4 * (limits.entries?.most ?? defaultLimits.entries) + 4;
  const reader = new TarReader(sink, { ...defaultLimits, entries: headers });
  await decompressAll(input, (piece) => {
    sink.archive(piece.length);
    reader.write(piece);
  });
  reader.end();
  return { files: kept.files, links: kept.links };
}

async function readRoot(input: BlobInput, limits: UnpackLimits): Promise<ArchiveReport> {
  const blob = new BlobFile();
  const { bytes, disk } = limits;
  const plain = new LimitedSink(nothing, bytes === undefined ? { disk } : { disk, bytes });
  const room = new LimitedSink(nothing, { disk });
  const diffId = createHash("sha256");
  await decompressAll(
    input,
    (piece) => {
      plain.archive(piece.length);
      diffId.update(piece);
    },
    (piece) => {
      room.archive(piece.length);
      blob.write(piece);
    },
  );
  blob.close();
  return {
    size: blob.size,
    digest: `sha256:${blob.hash.digest("hex")}`,
    diffId: `sha256:${diffId.digest("hex")}`,
  };
}

const nothing: TarSink = {
  entry: () => undefined,
  data: () => undefined,
  hole: () => undefined,
  endEntry: () => undefined,
};
