import process from "node:process";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { RemoteCommand } from "../../client/streaming/index.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { DetachKeys } from "./detach-keys.ts";

/** How an attached process or its session has ended. */
type ProcessEnd = { readonly exitCode: number } | { readonly failure: string } | "detached";

/** Options of `joinProcess`. */
interface AttachOptions {
  /** Send stdin to the process. */
  readonly stdin: boolean;
  /** The process has a terminal. */
  readonly terminal: boolean;
  /** Drop the output: the caller has it from elsewhere. */
  readonly dropOutput?: true;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

/**
 * Connects stdin, stdout and stderr of this process to a remote process until that exits, the user detaches
 * with Ctrl-P Ctrl-Q, or the signal is aborted. Meanwhile a terminal is in raw mode, so that all keys
 * including Ctrl-C reach the remote process.
 */
export async function joinProcess(
  remote: RemoteCommand,
  options: AttachOptions,
): Promise<ProcessEnd> {
  using stack = new DisposableStack();
  if (options.dropOutput === true) remote.stdout?.resume();
  const outputs =
    options.dropOutput === true
      ? Promise.resolve()
      : Promise.all([copy(remote.stdout, process.stdout), copy(remote.stderr, process.stderr)]);
  const detached = Promise.withResolvers<"detached">();
  if (options.terminal) stack.defer(forwardResizes(remote));
  if (remote.stdin !== undefined) {
    stack.defer(forwardStdin(remote.stdin, options.terminal, () => detached.resolve("detached")));
  }
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => {
    aborted.reject(new CommandFailure(exitCode.interrupted, "interrupted"));
  };
  options.signal.addEventListener("abort", onAbort, { once: true });
  stack.defer(() => {
    options.signal.removeEventListener("abort", onAbort);
    remote.close();
  });
  if (options.signal.aborted) onAbort();
  const ending = await Promise.race([remote.end, detached.promise, aborted.promise]);
  if (ending !== "detached") await Promise.race([outputs, aborted.promise]);
  return ending;
}

async function copy(source: Readable | undefined, sink: Writable): Promise<void> {
  if (source === undefined) return;
  try {
    await pipeline(source, sink, { end: false });
  } catch {
    // The end of the process has the error of a lost connection; a lost reader ends this process.
  }
}

/** Sends the size of the terminal, now and when it changes. Returns a function that stops it. */
function forwardResizes(remote: RemoteCommand): () => void {
  const { stdout } = process;
  const resize = (): void => {
    const { columns, rows } = stdout as { readonly columns?: number; readonly rows?: number };
    if (columns === undefined || rows === undefined) return;
    remote.resize({ width: columns, height: rows });
  };
  resize();
  stdout.on("resize", resize);
  return () => {
    stdout.off("resize", resize);
  };
}

/** Sends stdin to the process. Returns a function that stops it. */
function forwardStdin(sink: Writable, terminal: boolean, onDetach: () => void): () => void {
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
  // A listener alone does not end an earlier pause.
  stdin.resume();
  sink.on("drain", onDrain);
  return () => {
    stdin.off("data", onData).off("end", onEnd).off("error", onEnd);
    // The terminal may be gone, so its mode cannot be set.
    if (isRaw) stdin.on("error", () => undefined);
    sink.off("drain", onDrain);
    stdin.pause();
    if (isRaw) stdin.setRawMode(false);
  };
}
