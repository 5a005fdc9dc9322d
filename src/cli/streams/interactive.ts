import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { RemoteCommand } from "../../client/streaming/index.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { DetachKeys } from "./detach-keys.ts";

/** How a person's own streams took part in a process. */
export type ProcessEnd = { readonly exitCode: number } | { readonly failure: string } | "detached";

/** What a person wants of a process. */
export interface AttachOptions {
  /** Their stdin goes there. */
  readonly stdin: boolean;
  /** It has a terminal: theirs, if they are at one. */
  readonly terminal: boolean;
  /** Aborted when they want no more. */
  readonly signal: AbortSignal;
}

/**
 * Joins this process's stdin, stdout and stderr to another process, until that ends, the person leaves
 * with Ctrl-P Ctrl-Q, or the signal is aborted. A terminal is raw meanwhile, so that every key
 * gets there, Ctrl-C too, and afterwards it is as it was.
 */
export async function joinProcess(remote: RemoteCommand, wish: AttachOptions): Promise<ProcessEnd> {
  using stack = new DisposableStack();
  const outputs = Promise.all([
    copy(remote.stdout, process.stdout),
    copy(remote.stderr, process.stderr),
  ]);
  const left = Promise.withResolvers<"detached">();
  if (wish.terminal) stack.defer(followSize(remote));
  if (remote.stdin !== undefined) {
    stack.defer(typeInto(remote.stdin, wish.terminal, () => left.resolve("detached")));
  }
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(new CommandFailure(exitCode.interrupted, "interrupted"));
  };
  wish.signal.addEventListener("abort", onAbort, { once: true });
  stack.defer(() => {
    wish.signal.removeEventListener("abort", onAbort);
    remote.close();
  });
  if (wish.signal.aborted) onAbort();
  const ending = await Promise.race([remote.end, left.promise, aborted.promise]);
  if (ending !== "detached") await Promise.race([outputs, aborted.promise]);
  return ending;
}

async function copy(source: Readable | undefined, sink: Writable): Promise<void> {
  if (source === undefined) return;
  try {
    await pipeline(source, sink, { end: false });
  } catch {
    // A lost connection is told by the end of the process; a lost reader ends this one by itself.
  }
}

/** Tells the size of the terminal, now and when it changes. Returns how to stop. */
function followSize(remote: RemoteCommand): () => void {
  const { stdout } = process;
  const tell = (): void => {
    const { columns, rows } = stdout as { readonly columns?: number; readonly rows?: number };
    if (columns === undefined || rows === undefined) return;
    remote.resize({ width: columns, height: rows });
  };
  tell();
  stdout.on("resize", tell);
  return () => {
    stdout.off("resize", tell);
  };
}

/** Sends what is typed. Returns how to stop. */
function typeInto(sink: Writable, terminal: boolean, onDetach: () => void): () => void {
  const { stdin } = process;
  const isRaw = terminal && stdin.isTTY;
  const keys = isRaw ? new DetachKeys() : undefined;
  sink.on("error", () => undefined);
  const onData = (chunk: Buffer): void => {
    const bytes = keys === undefined ? chunk : keys.take(chunk);
    if (bytes.length > 0 && sink.writable && !sink.write(bytes)) stdin.pause();
    if (keys?.pressed === true) onDetach();
  };
  const onDrain = (): void => void stdin.resume();
  const onEnd = (): void => void sink.end();
  if (isRaw) stdin.setRawMode(true);
  stdin.on("data", onData).on("end", onEnd).on("error", onEnd);
  sink.on("drain", onDrain);
  return () => {
    stdin.off("data", onData).off("end", onEnd).off("error", onEnd);
    sink.off("drain", onDrain);
    stdin.pause();
    if (isRaw) stdin.setRawMode(false);
  };
}
