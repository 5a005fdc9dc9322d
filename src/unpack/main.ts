/**
 * Unpacks layers, one after the other, in a process of its own that the daemon starts, so that decompression and
 * malicious archives never affect the daemon. For each layer it reads a line of JSON from stdin and then the
 * compressed blob. It changes its root to the layer's directory (chroot) before it reads a byte of the blob,
 * and reports on stdout, in one line of JSON, what it made. Start here; `tar-reader.ts` reads the
 * archive, `layer-writer.ts` makes the files.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import process from "node:process";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";

import type { Digest } from "../base/digest.ts";
import { isKind, kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { fileLayerId } from "../base/file-layer.ts";
import { GzipInflater, openSha256, openSha256Pair, type Sha256 } from "../linux/blob/index.ts";
import { diskUsage, preparePipe } from "../linux/file/index.ts";
import { enterNextRoot, sealUnpacker } from "../linux/process/index.ts";
import { BlobInput, JobInput } from "./blob-input.ts";
import { type Compression, decompressorFor, detectCompression } from "./decompress.ts";
import type { Decompressor } from "./decompressor.ts";
import { type CipherOfJob, LayerDecipher, parseCipher } from "./layer-decipher.ts";
import { DiskFiles } from "./disk-files.ts";
import { ErofsFiles } from "./erofs/erofs-files.ts";
import { InflateStream } from "./inflate.ts";
import type { LayerFiles } from "./layer-files.ts";
import { type FromBelow, LayerWriter } from "./layer-writer.ts";
import { explainFullDisk, LimitedSink, parseLimits, type UnpackLimits } from "./limits.ts";
import { defaultLimits, TarReader } from "./tar-reader.ts";
import { writeWholeFile } from "./whole-file.ts";

const [STDIN, STDOUT] = [0, 1];
/** As the kernel makes it. A report may be longer, and is then written in parts, which wait for the daemon. */
const REPORT_PIPE = 64 * 1024;
/** The file of an image in the directory of the layer. */
const IMAGE = "/layer.erofs";
/**
 * One thread for both digests needs a third less processor time, but two end earlier where processors are free. With two
 * processors, none is free even while a single layer is unpacked. Read at the start, before the root is that of a layer.
 */
const hashesOnOneThread = availableParallelism() <= 2;

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
  /** Of an encrypted blob: the HMAC, hexadecimal, which the caller must compare, too. */
  readonly mac?: string | undefined;
}

/** The report about a failure. The directory then has what was made before. */
export interface UnpackFailure {
  readonly error: string;
  readonly kind: string;
  /** Only if the blob was read to its end: a wrong digest explains the failure. */
  readonly blobDigest?: string;
  /** Of an encrypted blob, with its digest. */
  readonly mac?: string | undefined;
}

/** What the daemon asks for; the blob follows. The layer's directory has come by a socket before. */
export interface UnpackJob {
  readonly blobBytes: number;
  readonly limits: UnpackLimits;
  /** For an encrypted blob. */
  readonly cipher?: CipherOfJob | undefined;
}

/**
 * Unpacks the layers that stdin asks for, each into the next root that the daemon has sent, with a report on
 * stdout for each. Returns the exit code at the end of stdin and after a failure. The process must end afterwards.
 */
export async function runUnpacker(): Promise<number> {
  await warmUp();
  process.umask(0);
  preparePipe(STDOUT, REPORT_PIPE);
  sealUnpacker();
  const input = new JobInput(STDIN);
  for (let line = await input.line(); line !== undefined; line = await input.line()) {
    const job = parseJob(line);
    const [blobHash, diffHash] = openHashes();
    const blob = new BlobInput(input, job.blobBytes, blobHash);
    enterNextRoot();
    const report = await unpackOne(job, blob, diffHash);
    try {
      const text = Buffer.from(`${JSON.stringify(report)}\n`);
      for (let at = 0; at < text.length; ) at += writeSync(STDOUT, text, at);
    } catch {
      return 1; // the daemon no longer reads the report
    }
    if ("error" in report) return 1;
  }
  return 0;
}

function parseJob(line: string): UnpackJob {
  const { blobBytes, limits, cipher } = JSON.parse(line) as Readonly<Record<string, unknown>>;
  if (typeof blobBytes !== "number") {
    // It is not shown: it may have a key.
    throw new RuntimeError("internal", "unpack layer: the job has no size");
  }
  return { blobBytes, limits: parseLimits(limits), cipher: parseCipher(cipher) };
}

async function unpackOne(
  { limits, cipher }: UnpackJob,
  blob: BlobInput,
  diffHash: Sha256,
): Promise<UnpackedLayer | UnpackFailure> {
  const decipher = cipher && new LayerDecipher(cipher);
  try {
    if (limits.file !== undefined) return await unpackFile(limits.file, limits, blob);
    return { ...(await unpack(limits, blob, { diffHash, decipher })), mac: decipher?.mac() };
  } catch (error) {
    const report = { error: messageOf(error), kind: kindOf(error) };
    // The blob may be corrupt, which its digest shows. So it is read to its end.
    if (!isKind(error, "invalid-argument") || !blob.ended) return report;
    return { ...report, blobDigest: digestOf(blob.hash), mac: decipher?.mac() };
  }
}

async function unpack(
  limits: UnpackLimits,
  blob: BlobInput,
  hashing: { readonly diffHash: Sha256; readonly decipher: LayerDecipher | undefined },
): Promise<UnpackedLayer> {
  const { decipher } = hashing;
  let { diffHash } = hashing;
  const head = await blob.head();
  const compression = detectCompression(decipher?.peek(head) ?? head);
  // What is decompressed is what is hashed, unless it was decrypted before.
  const hashed = decipher === undefined ? openHashed(compression) : undefined;
  const decompressor = hashed?.decompressor ?? decompressorFor(compression);
  if (hashed !== undefined) [blob.hash, diffHash] = hashed.digests;
  const feeding = feed(decompressor, blob, decipher);
  // It is awaited below, but may fail before that.
  feeding.catch(() => undefined);
  using files = openFiles(limits);
  const writer = new LayerWriter(files.files);
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
  using files = openFiles(limits);
  const writer = new LayerWriter(files.files);
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

/** The place of the layer's files, below the new root. */
function openFiles({ format, names }: UnpackLimits): Disposable & { readonly files: LayerFiles } {
  if (format !== "erofs") return { files: new DiskFiles(), [Symbol.dispose]: () => undefined };
  const fd = openSync(IMAGE, "wx", 0o600);
  return { files: new ErofsFiles(fd, undefined, names), [Symbol.dispose]: () => closeSync(fd) };
}

/** The digests of the blob and of the archive. */
function openHashes(): readonly [Sha256, Sha256] {
  const pair = hashesOnOneThread ? openSha256Pair() : undefined;
  return pair ?? [openSha256(), openSha256()];
}

/** A decompressor that computes both digests. `undefined` where two threads do that, or another library decompresses. */
function openHashed(
  compression: Compression,
):
  | { readonly decompressor: Decompressor; readonly digests: readonly [Sha256, Sha256] }
  | undefined {
  const inflater =
    hashesOnOneThread && compression === "gzip" ? GzipInflater.openHashed() : undefined;
  if (inflater?.digests === undefined) return undefined;
  return { decompressor: new InflateStream(inflater), digests: inflater.digests };
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
async function feed(
  decompressor: Decompressor,
  blob: BlobInput,
  decipher: LayerDecipher | undefined,
): Promise<void> {
  try {
    await blob.forEach((bytes) => decompressor.write(decipher?.decrypt(bytes) ?? bytes));
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
