/**
 * Unpacks one layer in a process of its own that the daemon starts, so that decompression and malicious
 * archives never affect the daemon. The process reads the compressed blob from stdin. It changes its root to
 * the layer's directory (chroot) before it reads a byte, and reports on stdout, in one line
 * of JSON, what it made. Start here; `tar-reader.ts` reads the
 * archive, `layer-writer.ts` makes the files.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";

import type { Digest } from "../base/digest.ts";
import { isKind, kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { fileLayerId } from "../base/file-layer.ts";
import { GzipInflater, openSha256, type Sha256 } from "../linux/blob/index.ts";
import { diskUsage, enterRoot } from "../linux/file/index.ts";
import { BlobInput } from "./blob-input.ts";
import { decompressorFor, detectCompression } from "./decompress.ts";
import type { Decompressor } from "./decompressor.ts";
import { type FromBelow, LayerWriter } from "./layer-writer.ts";
import { explainFullDisk, LimitedSink, parseLimits, type UnpackLimits } from "./limits.ts";
import { defaultLimits, TarReader } from "./tar-reader.ts";
import { writeWholeFile } from "./whole-file.ts";

const STDIN = 0;

/** The report about an unpacked layer. */
export interface UnpackedLayer {
  /** Digests of the blob and of the archive in it, which the caller must compare. */
  readonly blobDigest: string;
  readonly diffId: string;
  readonly bytes: number;
  readonly inodes: number;
  /** The layer hides everything below it. */
  readonly rootOpaque: boolean;
  /** The parts that come from lower layers and are not in the directory. */
  readonly fromBelow: FromBelow | undefined;
}

/** The report about a failure. The directory then has what was made before. */
export interface UnpackFailure {
  readonly error: string;
  readonly kind: string;
  /** Only if the blob was read to its end: a wrong digest explains the failure. */
  readonly blobDigest?: string;
}

/**
 * Unpacks stdin into the directory in `args`, with the limits in `args`, and reports on
 * stdout; returns the exit code. The process must end afterwards.
 */
export async function runUnpacker(args: readonly string[]): Promise<number> {
  const blob = new BlobInput(STDIN);
  let report: UnpackedLayer | UnpackFailure;
  try {
    report = await unpack(args, blob);
  } catch (error) {
    report = { error: messageOf(error), kind: kindOf(error) };
    // The blob may be corrupt, which its digest shows. So it is read to its end.
    if (isKind(error, "invalid-argument") && blob.ended) {
      report = { ...report, blobDigest: digestOf(blob.hash) };
    }
  }
  try {
    const text = Buffer.from(`${JSON.stringify(report)}\n`);
    for (let at = 0; at < text.length; ) at += writeSync(1, text, at);
  } catch {
    return 1; // the daemon no longer reads the report
  }
  return "error" in report ? 1 : 0;
}

async function unpack(args: readonly string[], blob: BlobInput): Promise<UnpackedLayer> {
  const [limitsText, directory] = args;
  if (limitsText === undefined || directory === undefined || args.length !== 2) {
    const text = `unpack layer: its arguments must be limits and one directory; there are ${args.length}`;
    throw new RuntimeError("invalid-argument", text);
  }
  const limits = parseLimits(limitsText);
  await warmUp();
  process.umask(0);
  enterRoot(directory);
  if (limits.file !== undefined) return await unpackFile(limits.file, limits, blob);

  const head = await blob.head();
  const decompressor = decompressorFor(detectCompression(head));
  const feeding = feed(decompressor, blob);
  // It is awaited below, but may fail before that.
  feeding.catch(() => undefined);
  const diffHash = openSha256();
  const writer = new LayerWriter();
  try {
    await extract(decompressor.output, diffHash, new LimitedSink(writer, limits), limits);
  } catch (error) {
    if (isKind(error, "invalid-argument")) await feeding;
    throw explainFullDisk(error, limits.disk);
  }
  await feeding;
  const fromBelow = writer.finish();
  const { bytes, inodes } = await diskUsage("/");
  return {
    blobDigest: digestOf(blob.hash),
    diffId: digestOf(diffHash),
    bytes: Number(bytes),
    inodes: Number(inodes),
    rootOpaque: writer.isRootOpaque,
    fromBelow,
  };
}

/** A part of an artifact, which has an id of its own in place of the digest of an archive. */
async function unpackFile(
  path: string,
  limits: UnpackLimits,
  blob: BlobInput,
): Promise<UnpackedLayer> {
  const writer = new LayerWriter();
  try {
    await writeWholeFile(blob, path, new LimitedSink(writer, limits));
  } catch (error) {
    throw explainFullDisk(error, limits.disk);
  }
  const fromBelow = writer.finish();
  const { bytes, inodes } = await diskUsage("/");
  const blobDigest = digestOf(blob.hash);
  const diffId = fileLayerId(blobDigest, path);
  const [size, count] = [Number(bytes), Number(inodes)];
  return { blobDigest, diffId, bytes: size, inodes: count, rootOpaque: false, fromBelow };
}

/** Makes libraries load now what they load at first use: later the files would be those of the image. */
async function warmUp(): Promise<void> {
  const zipped = gzipSync("x");
  gunzipSync(zipped);
  await GzipInflater.open()?.inflate(zipped, Buffer.alloc(16));
  zstdDecompressSync(zstdCompressSync("x"));
  const hash = openSha256();
  await hash.update(zipped);
  hash.digest();
  messageOf(new RuntimeError("unknown", "x"));
}

/** Passes on the whole blob, so that the hash gets all of it, even if there is no reader any more. */
async function feed(decompressor: Decompressor, blob: BlobInput): Promise<void> {
  try {
    await blob.forEach((bytes) => decompressor.write(bytes));
  } finally {
    decompressor.end();
  }
}

async function extract(
  output: AsyncIterable<Buffer>,
  hash: Sha256,
  sink: LimitedSink,
  { entries }: UnpackLimits,
): Promise<void> {
  // The reader counts headers, of which an entry has at most four: the sink rejects first.
  const headers = entries === undefined ? Number.POSITIVE_INFINITY : 4 * entries.most + 4;
  const reader = new TarReader(sink, { ...defaultLimits, entries: headers });
  for await (const piece of output) {
    sink.archive(piece.length);
    const hashed = hash.update(piece);
    try {
      reader.write(piece);
    } finally {
      // The piece belongs to the decompressor again after this.
      await hashed;
    }
  }
  reader.end();
}

function digestOf(hash: Sha256): Digest {
  return `sha256:${hash.digest()}`;
}
