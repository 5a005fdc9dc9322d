import { type Digest, isDigest } from "../../../base/digest.ts";
import { type ErrorKind, RuntimeError } from "../../../base/errors.ts";
import { gone, ProcessWait } from "../../../base/process-wait.ts";
import {
  type Child,
  findOwnProgram,
  keepText,
  type OwnProgram,
  SIGKILL,
  startOwnProgram,
} from "../../../linux/process/index.ts";

/** A file of a received archive. */
export interface ReceivedFile {
  /** Its name in the directory. */
  readonly file: number;
  readonly sizeBytes: number;
  readonly digest: Digest;
}

/** The files and links of an archive of images, by their absolute names. */
export interface ReceivedFiles {
  readonly kind: "files";
  readonly files: ReadonlyMap<string, ReceivedFile>;
  readonly links: ReadonlyMap<string, string>;
}

/** A root file system: the archive itself, in the file 0. */
export interface ReceivedRoot {
  readonly kind: "root";
  readonly blob: ReceivedFile;
  readonly diffId: Digest;
}

interface ReceiveOptions {
  /** Its last arguments are mode and limits. */
  readonly command: OwnProgram;
  readonly mode: "read" | "root";
  /** An empty directory for the files. */
  readonly directory: string;
  /** A directory of its file system, for messages. */
  readonly disk: string;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** How long the program may read nothing, and how long it may need after the last byte. */
  readonly stallMs: number;
}

/** An archive of a few hundred images has fewer files. */
const maxFiles = 20_000;
/** The program limits the names to 1 MiB, which JSON and digests make longer. */
const maxReportBytes = 16 * 1024 * 1024;
/** The program that receives archives. `failed-precondition` where it is missing. */
export function defaultArchiveCommand(): OwnProgram {
  const files = { source: "unpack/archive-program.ts", bundle: "davit-archive.cjs" };
  return findOwnProgram("the program that reads archives", files);
}

/**
 * Receives an archive by a separate process, which sees only the directory, and settles when the process has
 * ended. The daemon only passes the bytes on, as fast as the process reads them. Errors as
 * `ImageArchives.open`; the directory then has incomplete content.
 */
export async function receiveArchive(
  options: ReceiveOptions,
): Promise<ReceivedFiles | ReceivedRoot> {
  const { command, mode, directory, disk, chunks, signal, stallMs } = options;
  signal.throwIfAborted();
  const why = `${maxFiles} files`;
  const limits = { disk, ...(mode === "read" ? { entries: { most: maxFiles, why } } : {}) };
  const child = await startOwnProgram(command, [mode, JSON.stringify(limits)], {
    confinement: "archive-reader",
    root: directory,
  });
  const report = keepText(child.stdout, maxReportBytes);
  const complaint = keepText(child.stderr, 4096);
  using wait = new ProcessWait({
    gone: child.exited,
    signal,
    stallMs,
    stalled: () => failed("deadline-exceeded", `its reader made no progress for ${stallMs} ms`),
  });
  try {
    await feed(child, chunks, wait);
    await wait.until(child.exited, "limited");
  } finally {
    child.kill(SIGKILL); // without effect if it has ended
    await child.exited;
    child.stdin?.destroy();
  }
  const received = parseReport(await report);
  if (received !== undefined) return received;
  throw failed("internal", `its reader ended without a report: ${(await complaint).trim()}`);
}

async function feed(
  child: Child,
  chunks: AsyncIterable<Uint8Array>,
  wait: ProcessWait,
): Promise<void> {
  const { stdin } = child;
  const source = chunks[Symbol.asyncIterator]();
  let ended = false;
  try {
    for (;;) {
      const next = await wait.until(source.next(), "unlimited");
      if (next === gone) return; // its report has the reason
      if (next.done === true) break;
      if (stdin?.write(next.value) === false) {
        const { promise, resolve } = Promise.withResolvers<undefined>();
        stdin.once("drain", () => resolve(undefined));
        await wait.until(promise, "limited");
      }
    }
    ended = true;
    stdin?.end();
  } finally {
    // Not awaited: a source that hangs does not answer this either.
    if (!ended) source.return?.().catch(() => undefined);
  }
}

const kinds: readonly ErrorKind[] = [
  "invalid-argument",
  "resource-exhausted",
  "unimplemented",
  "permission-denied",
  "failed-precondition",
];

type Fields = Readonly<Record<string, unknown>>;

/** Throws the failure that the program reports; `undefined` for an invalid report. */
function parseReport(text: string): ReceivedFiles | ReceivedRoot | undefined {
  let fields: Fields;
  try {
    fields = JSON.parse(text) as Fields;
  } catch {
    return undefined;
  }
  const { error, kind, files, links, diffId } = fields;
  if (typeof error === "string") {
    throw failed(kinds.find((known) => known === kind) ?? "internal", error);
  }
  if (typeof diffId === "string" && isDigest(diffId)) {
    const blob = parseFile({ ...fields, file: 0 });
    return blob === undefined ? undefined : { kind: "root", blob, diffId };
  }
  if (!Array.isArray(files) || !Array.isArray(links)) return undefined;
  const known = new Map<string, ReceivedFile>();
  for (const each of files as readonly Fields[]) {
    const file = parseFile(each);
    if (file === undefined || typeof each["name"] !== "string") return undefined;
    known.set(each["name"], file);
  }
  const targets = new Map<string, string>();
  for (const { name, target } of links as readonly Fields[]) {
    if (typeof name !== "string" || typeof target !== "string") return undefined;
    targets.set(name, target);
  }
  return { kind: "files", files: known, links: targets };
}

function parseFile({ file, size, digest }: Fields): ReceivedFile | undefined {
  if (!Number.isSafeInteger(file) || !Number.isSafeInteger(size)) return undefined;
  if (typeof digest !== "string" || !isDigest(digest)) return undefined;
  return { file: Number(file), sizeBytes: Number(size), digest };
}

function failed(kind: ErrorKind, what: string): RuntimeError {
  // The reader of layers, which it shares, names its subject.
  return new RuntimeError(kind, `read image archive: ${what.replace(/^read layer archive: /, "")}`);
}
