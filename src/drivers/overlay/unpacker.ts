import { type Digest, isDigest } from "../../base/digest.ts";
import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import { gone, ProcessWait } from "../../base/process-wait.ts";
import { type LayerSource, OtherFormat, TooLarge } from "../../core/snapshot/index.ts";
import { type ChildExit, findOwnProgram, type OwnProgram } from "../../linux/process/index.ts";
import { type FromBelow, parseFromBelow } from "./from-below.ts";
import type { LayerFormat } from "./layer-facts.ts";
import type { UnpackTurn } from "./unpack-turns.ts";
import type { UnpackerProcess, UnpackerProcesses } from "./unpacker-processes.ts";

/** A layer in a directory, with the digests that were computed. They are not compared yet. */
interface Unpacked {
  readonly blobDigest: Digest;
  readonly diffId: Digest;
  readonly bytes: number;
  readonly inodes: number;
  readonly rootOpaque: boolean;
  /** What it shares with the layers below it and is not in the directory; `undefined` for nothing. */
  readonly fromBelow: FromBelow | undefined;
  /** The HMAC of an encrypted blob, hexadecimal. */
  readonly mac: string | undefined;
}

/** The input of one run of the unpacker. */
interface UnpackOptions {
  readonly unpackers: UnpackerProcesses;
  /** An empty one. */
  readonly directory: string;
  readonly format: LayerFormat;
  readonly layer: LayerSource;
  /** Name of the directory's file system, for messages. */
  readonly disk: string;
  /** Released while the layer's source sends nothing. None where all bytes are on this node. */
  readonly turn?: UnpackTurn | undefined;
  readonly signal: AbortSignal;
  /** How long the unpacker may read nothing, and how long it may need after the last byte. */
  readonly stallMs: number;
}

/** The unpacker of this program. `failed-precondition` where it is missing. */
export function defaultUnpackerCommand(): OwnProgram {
  const files = { source: "unpack/program.ts", bundle: "davit-unpack.cjs" };
  return findOwnProgram("the unpacker of images", files);
}

/**
 * Unpacks a blob into a directory by a separate process, which sees only that directory, and settles
 * when the process has ended. The daemon only passes the bytes on, as fast as the process reads them.
 *
 * Rejects with the error of the unpacker (`failed-precondition` for a layer beyond its limits,
 * `resource-exhausted` for a disk without room), `data-loss` when a digest or the size is not the
 * described one, `deadline-exceeded` when the unpacker makes no progress, and with the failure of the
 * blob's source or the signal's reason unchanged. The directory then has incomplete content.
 */
export async function unpackBlob(options: UnpackOptions): Promise<Unpacked> {
  const { unpackers, directory, format, layer, disk, turn, signal, stallMs } = options;
  signal.throwIfAborted();
  const unpacker = await unpackers.take(directory, layer.pull);
  const blobBytes = Number(layer.blob.sizeBytes);
  const limits = { ...layer.limits, disk, file: layer.file, format };
  const answer = unpacker.begin({ blobBytes, limits, cipher: cipherOf(layer) });
  using wait = new ProcessWait({
    gone: answer,
    signal,
    stallMs,
    stalled: () =>
      failed(layer, "deadline-exceeded", `unpacker made no progress for ${stallMs} ms: killed`),
  });
  let said: Unpacked | Refusal | undefined;
  let isWhole = false;
  try {
    isWhole = await passOn(layer, unpacker, wait, turn);
    await wait.until(answer, "limited");
    said = parseReport((await answer) ?? "");
  } finally {
    if (isWhole && said !== undefined && !("error" in said))
      await unpackers.give(unpacker, layer.pull);
    else await unpacker.kill();
  }
  if (said === undefined) {
    const [how, words] = [describeExit(await unpacker.exited), await unpacker.complaint()];
    throw failed(layer, "internal", `unpacker ended with ${how} and no report: ${words}`);
  }
  return checkDigests(said, layer);
}

/** The part of an encrypted layer's secrets that the unpacker needs. */
function cipherOf({ cipher }: LayerSource): object | undefined {
  if (cipher === undefined) return undefined;
  const { key, nonce } = cipher;
  return { key: Buffer.from(key).toString("base64"), nonce: Buffer.from(nonce).toString("base64") };
}

/** True when the unpacker got the whole blob: it may answer before. */
async function passOn(
  layer: LayerSource,
  unpacker: UnpackerProcess,
  wait: ProcessWait,
  turn: UnpackTurn | undefined,
): Promise<boolean> {
  const chunks = layer.chunks[Symbol.asyncIterator]();
  let sent = 0n;
  let ended = false;
  try {
    for (;;) {
      turn?.idle();
      const next = await wait.until(chunks.next(), "unlimited");
      // Its report has the reason, unless it is that of a layer whose source did not say yet that it ended.
      if (next === gone) return sent === layer.blob.sizeBytes;
      const again = turn?.busy(next.done === true ? 0 : next.value.length, wait.signal);
      if (again !== undefined && (await wait.until(again, "unlimited")) === gone) return false;
      if (next.done === true) break;
      sent += BigInt(next.value.length);
      if (sent > layer.blob.sizeBytes) {
        throw failed(layer, "data-loss", `blob is longer than its ${layer.blob.sizeBytes} bytes`);
      }
      const sending = unpacker.send(next.value);
      if (sending !== undefined) await wait.until(sending, "limited");
    }
    if (sent < layer.blob.sizeBytes) {
      const what = `blob ended after ${sent} of its ${layer.blob.sizeBytes} bytes`;
      throw failed(layer, "data-loss", what);
    }
    ended = true;
    return true;
  } finally {
    // Not awaited: a source that hangs does not answer this either.
    if (!ended) chunks.return?.().catch(() => undefined);
  }
}

function describeExit(exit: ChildExit): string {
  return exit.signal === null ? `code ${exit.code ?? "unknown"}` : `signal ${exit.signal}`;
}

interface Refusal {
  readonly error: string;
  readonly kind: ErrorKind;
  readonly blobDigest: string | undefined;
  readonly mac: string | undefined;
}

const kinds: readonly ErrorKind[] = [
  "invalid-argument",
  "resource-exhausted",
  "unimplemented",
  "permission-denied",
  "failed-precondition",
  "out-of-range",
];

/** Parses the report of the unpacker; `undefined` for an invalid one. */
function parseReport(text: string): Unpacked | Refusal | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const fields = value as Readonly<Record<string, unknown>>;
    return parseRefusal(fields) ?? parseUnpacked(fields);
  } catch {
    return undefined;
  }
}

function parseRefusal(fields: Readonly<Record<string, unknown>>): Refusal | undefined {
  const { error, kind } = fields;
  if (typeof error !== "string") return undefined;
  return {
    error,
    kind: kinds.find((known) => known === kind) ?? "internal",
    blobDigest: textOf(fields["blobDigest"]),
    mac: textOf(fields["mac"]),
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function parseUnpacked(fields: Readonly<Record<string, unknown>>): Unpacked | undefined {
  const { blobDigest, diffId, bytes, inodes, rootOpaque } = fields;
  if (typeof blobDigest !== "string" || typeof diffId !== "string") return undefined;
  if (!isDigest(blobDigest) || !isDigest(diffId) || typeof rootOpaque !== "boolean")
    return undefined;
  if (!Number.isSafeInteger(bytes) || !Number.isSafeInteger(inodes)) return undefined;
  const fromBelow = parseFromBelow(fields["fromBelow"]);
  return {
    blobDigest,
    diffId,
    bytes: Number(bytes),
    inodes: Number(inodes),
    rootOpaque,
    fromBelow,
    mac: textOf(fields["mac"]),
  };
}

/** A blob with wrong bytes explains any other failure, and so does one that is not what was encrypted. */
function checkDigests(said: Unpacked | Refusal, layer: LayerSource): Unpacked {
  const { blob, diffId } = layer;
  if (said.blobDigest !== undefined && said.blobDigest !== blob.digest) {
    throw failed(
      layer,
      "data-loss",
      `digest mismatch for blob "${blob.digest}": got "${said.blobDigest}"; pull again`,
    );
  }
  checkMac(said, layer);
  if ("error" in said) {
    const refusal = failed(layer, said.kind, said.error);
    // The unpacker has this kind only for a layer that no image holds.
    if (said.kind === "out-of-range") throw new OtherFormat(refusal.message);
    // And this one only for a layer that exceeds a limit.
    throw said.kind === "failed-precondition" ? new TooLarge(refusal.message) : refusal;
  }
  if (said.diffId !== diffId) {
    throw failed(
      layer,
      "data-loss",
      `blob "${blob.digest}" is not the layer that the image names: it is "${said.diffId}"`,
    );
  }
  return said;
}

/** A failure that has no digest comes before the end of the blob, and has no HMAC either. */
function checkMac(said: Unpacked | Refusal, layer: LayerSource): void {
  if (layer.cipher === undefined || said.blobDigest === undefined) return;
  if (said.mac === Buffer.from(layer.cipher.mac).toString("hex")) return;
  throw failed(
    layer,
    "data-loss",
    `blob "${layer.blob.digest}" does not have the HMAC that the image names, so it was not encrypted with this key: encrypt the image again and push it`,
  );
}

function failed(layer: LayerSource, kind: ErrorKind, what: string): RuntimeError {
  const { diffId, file, blob } = layer;
  const doing =
    file === undefined
      ? `unpack layer "${diffId}"`
      : `write file "${file}" of blob "${blob.digest}"`;
  return new RuntimeError(kind, `${doing}: ${what}`);
}
