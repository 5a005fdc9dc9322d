import type { Socket } from "node:net";
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Digest, isDigest } from "../../base/digest.ts";
import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import { releaseTransferred } from "../../base/transferable.ts";
import { type LayerSource, TooLarge } from "../../core/snapshot/index.ts";
import {
  type Child,
  type ChildExit,
  SIGKILL,
  spawnChildInPool,
} from "../../linux/process/index.ts";
import { type FromBelow, parseFromBelow } from "./from-below.ts";
import type { UnpackTurn } from "./unpack-turns.ts";

/** The program that unpacks: its last arguments are the limits and the directory; stdin is the blob. */
export interface UnpackerCommand {
  readonly file: string;
  readonly args: readonly string[];
}

/** A layer in a directory, with the digests that were computed. They are not compared yet. */
interface Unpacked {
  readonly blobDigest: Digest;
  readonly diffId: Digest;
  readonly bytes: number;
  readonly inodes: number;
  readonly rootOpaque: boolean;
  /** What it shares with the layers below it and is not in the directory; `undefined` for nothing. */
  readonly fromBelow: FromBelow | undefined;
}

/** The input of one run of the unpacker. */
interface UnpackOptions {
  readonly command: UnpackerCommand;
  readonly directory: string;
  readonly layer: LayerSource;
  /** Name of the directory's file system, for messages. */
  readonly disk: string;
  /** Released while the layer's source sends nothing. None where all bytes are on this node. */
  readonly turn?: UnpackTurn | undefined;
  readonly signal: AbortSignal;
  /** How long the unpacker may read nothing, and how long it may need after the last byte. */
  readonly stallMs: number;
}

/** The unpacker limits the names in its report to 640 KiB, which JSON may make longer. */
const REPORT_MAX = 4 * 1024 * 1024;
/**
 * The heap holds names only, buffers are outside of it; a broken archive must not grow it. The small
 * young space makes 100 MB of memory out of 150, at the same speed.
 */
const NODE_OPTIONS = [
  "--disable-warning=ExperimentalWarning",
  "--max-old-space-size=384",
  "--max-semi-space-size=1",
];

/**
 * The unpacker of this program: its bundle next to the daemon's, which loads fast, or its source.
 * `failed-precondition` where it is missing.
 */
export function defaultUnpackerCommand(): UnpackerCommand {
  const fromSource = import.meta.url.endsWith("/src/drivers/overlay/unpacker.ts");
  const file = fromSource ? "../../unpack/program.ts" : "./davit-unpack.cjs";
  const program = fileURLToPath(new URL(file, import.meta.url));
  if (!existsSync(program)) {
    throw new RuntimeError(
      "failed-precondition",
      `find the unpacker of images: "${program}" is missing; run "npm run build"`,
    );
  }
  return { file: process.execPath, args: [...NODE_OPTIONS, program] };
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
  const { command, directory, layer, disk, turn, signal, stallMs } = options;
  signal.throwIfAborted();
  const child = await spawnChildInPool({
    file: command.file,
    args: [...command.args, JSON.stringify({ ...layer.limits, disk, file: layer.file }), directory],
    // Nothing of the daemon's: NODE_EXTRA_CA_CERTS, for example, makes a thread of Node.js open files,
    // which later would be files of the image.
    env: {},
    // Not in the daemon's session, which is preferred: see preferEventLoop().
    newSession: true,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const report = keepText(child.stdout);
  const complaint = keepText(child.stderr);
  using wait = new Wait({ child, layer, signal, stallMs });
  try {
    await passOn(layer, child, wait, turn);
    await wait.until(child.exited, "limited");
  } finally {
    child.kill(SIGKILL); // without effect if it has ended
    await child.exited;
    child.stdin?.destroy();
  }
  const said = parseReport(await report);
  if (said === undefined) {
    const [how, words] = [describeExit(await child.exited), (await complaint).trim().slice(0, 500)];
    throw failed(layer, "internal", `unpacker ended with ${how} and no report: ${words}`);
  }
  return checkDigests(said, layer);
}

async function passOn(
  layer: LayerSource,
  child: Child,
  wait: Wait,
  turn: UnpackTurn | undefined,
): Promise<void> {
  const { stdin } = child;
  const chunks = layer.chunks[Symbol.asyncIterator]();
  let sent = 0n;
  let ended = false;
  try {
    for (;;) {
      turn?.idle();
      const next = await wait.until(chunks.next(), "unlimited");
      if (next === gone) return; // its report has the reason
      const again = turn?.busy(next.done === true ? 0 : next.value.length, wait.signal);
      if (again !== undefined && (await wait.until(again, "unlimited")) === gone) return;
      if (next.done === true) break;
      sent += BigInt(next.value.length);
      if (sent > layer.blob.sizeBytes) {
        throw failed(layer, "data-loss", `blob is longer than its ${layer.blob.sizeBytes} bytes`);
      }
      const chunk = next.value;
      if (stdin?.write(chunk, () => releaseTransferred(chunk)) === false) {
        await wait.until(drained(stdin), "limited");
      }
    }
    ended = true;
    stdin?.end();
  } finally {
    // Not awaited: a source that hangs does not answer this either.
    if (!ended) chunks.return?.().catch(() => undefined);
  }
}

function drained(stdin: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  stdin.once("drain", () => resolve(undefined));
  return promise;
}

/** The result of a wait that ended with the process. */
const gone = Symbol("the process has ended");

interface Waited {
  readonly child: Child;
  readonly layer: LayerSource;
  readonly signal: AbortSignal;
  readonly stallMs: number;
}

/** Waits for one promise at a time, until the process ends, the signal is aborted or time is up. */
class Wait implements Disposable {
  readonly signal: AbortSignal;
  readonly #of: Waited;
  #isGone = false;
  #cut: { readonly gone: () => void; readonly fail: (reason: unknown) => void } | undefined;

  constructor(of: Waited) {
    this.signal = of.signal;
    this.#of = of;
    of.signal.addEventListener("abort", this.#onAbort, { once: true });
    void of.child.exited.then(() => {
      this.#isGone = true;
      this.#cut?.gone();
    });
  }

  [Symbol.dispose](): void {
    this.#of.signal.removeEventListener("abort", this.#onAbort);
  }

  /** Returns `gone` when the process ends first; rejects by the signal, and after `stallMs` if limited. */
  async until<T>(promise: Promise<T>, how: "limited" | "unlimited"): Promise<T | typeof gone> {
    const { layer, stallMs } = this.#of;
    const { promise: answer, resolve, reject } = Promise.withResolvers<T | typeof gone>();
    promise.then(resolve, reject);
    // It has no reader if the signal was aborted before.
    answer.catch(() => undefined);
    this.#of.signal.throwIfAborted();
    if (this.#isGone) return gone;
    this.#cut = { gone: () => resolve(gone), fail: reject };
    const onStall = (): void => {
      reject(
        failed(layer, "deadline-exceeded", `unpacker made no progress for ${stallMs} ms: killed`),
      );
    };
    const timer = how === "limited" ? setTimeout(onStall, stallMs) : undefined;
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
      this.#cut = undefined;
    }
  }

  readonly #onAbort = (): void => this.#cut?.fail(this.#of.signal.reason);
}

async function keepText(stream: Socket | undefined): Promise<string> {
  const parts: Buffer[] = [];
  let room = REPORT_MAX;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  stream?.on("close", () => resolve(undefined));
  stream?.on("data", (part: Buffer) => {
    if (room > 0) parts.push(part.subarray(0, room));
    room -= part.length;
  });
  await promise;
  return Buffer.concat(parts).toString("utf8");
}

function describeExit(exit: ChildExit): string {
  return exit.signal === null ? `code ${exit.code ?? "unknown"}` : `signal ${exit.signal}`;
}

interface Refusal {
  readonly error: string;
  readonly kind: ErrorKind;
  readonly blobDigest: string | undefined;
}

const kinds: readonly ErrorKind[] = [
  "invalid-argument",
  "resource-exhausted",
  "unimplemented",
  "permission-denied",
  "failed-precondition",
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
  const { error, kind, blobDigest } = fields;
  if (typeof error !== "string") return undefined;
  return {
    error,
    kind: kinds.find((known) => known === kind) ?? "internal",
    blobDigest: typeof blobDigest === "string" ? blobDigest : undefined,
  };
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
  };
}

/** A blob with wrong bytes explains any other failure. */
function checkDigests(said: Unpacked | Refusal, layer: LayerSource): Unpacked {
  const { blob, diffId } = layer;
  if (said.blobDigest !== undefined && said.blobDigest !== blob.digest) {
    throw failed(
      layer,
      "data-loss",
      `digest mismatch for blob "${blob.digest}": got "${said.blobDigest}"; pull again`,
    );
  }
  if ("error" in said) {
    const refusal = failed(layer, said.kind, said.error);
    // The unpacker has this kind only for a layer that exceeds a limit.
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

function failed(layer: LayerSource, kind: ErrorKind, what: string): RuntimeError {
  const { diffId, file, blob } = layer;
  const doing =
    file === undefined
      ? `unpack layer "${diffId}"`
      : `write file "${file}" of blob "${blob.digest}"`;
  return new RuntimeError(kind, `${doing}: ${what}`);
}
