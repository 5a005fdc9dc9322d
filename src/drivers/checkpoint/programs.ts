import { once } from "node:events";
import type { Writable } from "node:stream";
import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import {
  type Child,
  findOwnProgram,
  keepText,
  type OwnProgram,
  type OwnProgramLimits,
  type OwnProgramStreams,
  SIGKILL,
  startOwnProgram,
} from "../../linux/process/index.ts";

/** One run of the program that reads and writes archives. */
interface Run {
  readonly program: OwnProgram | undefined;
  /** The mode, and its arguments. */
  readonly args: readonly string[];
  readonly limits: OwnProgramLimits;
  readonly streams: OwnProgramStreams;
  /** Written to its stdin, where that is a pipe. */
  readonly input?: string | AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
}

/** The report of an archive with 20,000 files has 2 MB. */
const maxReportBytes = 16 * 1024 * 1024;
const complaintBytes = 64 * 1024;

const kinds: readonly ErrorKind[] = [
  "invalid-argument",
  "resource-exhausted",
  "unimplemented",
  "permission-denied",
  "failed-precondition",
  "data-loss",
];

/** The program that reads and writes archives. `failed-precondition` where it is missing. */
function archiveProgram(): OwnProgram {
  const files = { source: "unpack/archive-program.ts", bundle: "davit-archive.cjs" };
  return findOwnProgram("the program that reads and writes archives", files);
}

/**
 * Runs the program to its end, and returns its report, a line of JSON on stdout, or on stderr where stdout is a file.
 * Rejects with the error that it reported; with the signal's reason once that is aborted. Nothing of it runs any more then.
 */
export async function runArchiveProgram(run: Run): Promise<Readonly<Record<string, unknown>>> {
  const { program = archiveProgram(), args, limits, streams, input, signal } = run;
  signal.throwIfAborted();
  const child = await startOwnProgram(program, args, limits, streams);
  const kill = (): void => child.kill(SIGKILL);
  signal.addEventListener("abort", kill, { once: true });
  const report = keepText(child.stdout, maxReportBytes);
  const complaint = keepText(child.stderr, complaintBytes);
  try {
    const fed = feed(child, input);
    await child.exited;
    signal.throwIfAborted();
    if (fed.failure !== undefined) throw fed.failure.cause;
  } finally {
    signal.removeEventListener("abort", kill);
    child.stdin?.destroy();
  }
  const isFile = streams.stdout !== undefined;
  return await resultOf(child, isFile ? "" : await report, await complaint);
}

/**
 * Runs the program, and yields what it writes to stdout. Rejects at the end with the error that it reported, and with the
 * signal's reason once that is aborted. Nothing of it runs any more after the end of the loop.
 */
export async function* streamArchiveProgram(
  run: Omit<Run, "streams">,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { program = archiveProgram(), args, limits, input, signal } = run;
  signal.throwIfAborted();
  const child = await startOwnProgram(program, args, limits);
  const kill = (): void => child.kill(SIGKILL);
  signal.addEventListener("abort", kill, { once: true });
  const complaint = keepText(child.stderr, complaintBytes);
  try {
    feed(child, input);
    for await (const chunk of child.stdout ?? []) yield chunk as Uint8Array;
    signal.throwIfAborted();
    await resultOf(child, "", await complaint);
  } finally {
    signal.removeEventListener("abort", kill);
    kill();
    child.stdin?.destroy();
    child.stdout?.destroy();
    await child.exited;
  }
}

/**
 * Writes to the program's stdin in the background. A failure of the input itself ends the program. One that ends earlier
 * does not wait for the rest of the input.
 */
function feed(child: Child, input: Run["input"] = ""): { failure?: { readonly cause: unknown } } {
  const { stdin } = child;
  const fed: { failure?: { readonly cause: unknown } } = {};
  stdin?.on("error", () => undefined); // its report has the reason
  if (typeof input === "string") stdin?.end(input);
  else if (stdin) {
    writeAll(stdin, input, child.exited).catch((cause: unknown) => {
      fed.failure = { cause };
      child.kill(SIGKILL);
    });
  }
  return fed;
}

async function writeAll(
  to: Writable,
  chunks: AsyncIterable<Uint8Array>,
  ended: Promise<unknown>,
): Promise<void> {
  for await (const chunk of chunks) {
    if (to.destroyed) return;
    if (!to.write(chunk)) await Promise.race([once(to, "drain").catch(() => undefined), ended]);
  }
  to.end();
}

async function resultOf(
  child: Child,
  report: string,
  complaint: string,
): Promise<Readonly<Record<string, unknown>>> {
  const { code, signal } = await child.exited;
  const said = parse(report) ?? parse(complaint);
  if (typeof said?.["error"] === "string") {
    const text = said["error"].replace(/^read layer archive: /, "").slice(0, 2_000);
    throw new RuntimeError(kinds.find((kind) => kind === said["kind"]) ?? "internal", text);
  }
  if (code === 0) return said ?? {};
  const how = signal === null ? `code ${String(code)}` : `signal ${signal}`;
  const words = complaint.trim().slice(0, 500);
  throw new RuntimeError("internal", `the program for archives ended with ${how}: ${words}`);
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}
