import process from "node:process";
import { messageOf } from "../../base/errors.ts";
import type { ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import { readLog } from "../../linux/file/index.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import type { RunningPod } from "../lifecycle/run-pod.ts";
import { LogPrinter } from "../logs/print-log.ts";
import { takeErrors } from "../output/take-errors.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import type { StopSignal } from "../stop-signals.ts";
import { waitForEnd } from "./container-end.ts";
import type { ImageRequest } from "./manifest.ts";
import { killContainer, signalContainer } from "./signal-container.ts";

/** How a container or its foreground has ended. */
export type ForegroundEnd =
  | { readonly kind: "exited"; readonly exitCode: number }
  /** Ctrl-P Ctrl-Q: the container still runs. */
  | { readonly kind: "detached" }
  /** The terminal or the reader of the output is gone: the container still runs. */
  | { readonly kind: "lost"; readonly exitCode: number };

// 128 + SIGHUP.
const hungUp = 129;

/**
 * Follows a container that has just been started: prints its output, sends it stdin, and forwards signals, until
 * it has exited and all of its output is printed.
 *
 * The output is that of the log from its beginning: one that a client attaches for after the start would lack what
 * was written before, and be cut off where the client is slow.
 */
export async function followContainer(
  call: Call,
  server: Server,
  pod: RunningPod,
  request: ImageRequest,
): Promise<ForegroundEnd> {
  const [containerId = ""] = pod.containers.values();
  const over = new AbortController();
  const leaving = Promise.withResolvers<ForegroundEnd>();
  using stack = new DisposableStack();
  stack.use(forwardSignals({ call, server, containerId }, leaving.resolve));
  stack.use(watchOutputs(leaving.resolve));
  if (request.terminal && request.options.has("interactive")) stack.use(rawTerminal());
  const ended = waitForEnd(server, containerId, over.signal);
  ended.catch(() => undefined);
  const stdin = request.options.has("interactive");
  const joined =
    stdin || request.terminal
      ? join({ call, server, containerId }, request, over.signal, leaving.resolve)
      : Promise.resolve();
  try {
    const printed = printOutput(call, server, containerId, { ended, signal: over.signal });
    return await Promise.race([printed, leaving.promise]);
  } finally {
    over.abort();
    // It restores the terminal.
    await joined;
  }
}

/** The container of a foreground. */
interface Followed {
  readonly call: Call;
  readonly server: Server;
  readonly containerId: string;
}

/** Prints the log until the container has exited. */
async function printOutput(
  call: Call,
  server: Server,
  containerId: string,
  {
    ended,
    signal,
  }: { readonly ended: Promise<ContainerStatus | undefined>; readonly signal: AbortSignal },
): Promise<ForegroundEnd> {
  const { status } = await server.client.runtime.containerStatus({ containerId }, server.limit());
  const finished = new AbortController();
  const finish = (): void => finished.abort();
  ended.then(finish, finish);
  const printer = new LogPrinter(call.terminal, () => "", { exact: true });
  // The file, which is on this machine as the pod's directory is: it outlives a restart of the server.
  const log = readLog(status?.logPath ?? "", { follow: { ended: finished.signal }, signal });
  for await (const lines of log) printer.print(lines);
  printer.end();
  const end = await ended;
  if (end === undefined) {
    throw new CommandFailure(
      exitCode.execFailed,
      "wait for the container: it was removed before its exit code was known",
    );
  }
  return { kind: "exited", exitCode: end.exitCode > 255 ? exitCode.execFailed : end.exitCode };
}

/** Connects stdin and the size of the terminal with the container. */
async function join(
  { call, server, containerId }: Followed,
  { options, terminal }: ImageRequest,
  signal: AbortSignal,
  leave: (end: ForegroundEnd) => void,
): Promise<void> {
  const { openRemoteCommand } = await import("../../client/streaming/index.ts");
  const { joinProcess } = await import("../streams/interactive.ts");
  const stdin = options.has("interactive");
  // A request needs a stream: without stdin, it is for the size of the terminal only.
  const streams = { stdin, stdout: !stdin, stderr: false };
  try {
    const request = { containerId, tty: terminal, ...streams };
    const { url } = await doing("attach", server.client.runtime.attach(request, server.limit()));
    const remote = await openRemoteCommand(url, { ...streams, terminal, signal });
    const end = await joinProcess(remote, { stdin, terminal, signal, dropOutput: true });
    if (end === "detached") leave({ kind: "detached" });
  } catch (error) {
    if (signal.aborted) return;
    // It may have exited already; the log has its output.
    const status = await server.client.runtime
      .containerStatus({ containerId }, server.limit())
      .catch(() => undefined);
    if (status?.status?.finishedAt !== 0n) return;
    call.terminal.err(`davit run: stdin is not connected any more: ${messageOf(error)}\n`);
  }
}

/** Forwards signals to the container: a second one kills it. */
function forwardSignals(
  { call, server, containerId }: Followed,
  leave: (end: ForegroundEnd) => void,
): Disposable | undefined {
  let count = 0;
  const note = (text: string): void => {
    call.terminal.err(`${call.terminal.errStyle.dim(`davit run: ${text}`)}\n`);
  };
  const kill = (): void => {
    killContainer(server, containerId).catch((error: unknown) => note(messageOf(error)));
  };
  const handle = async (signal: StopSignal): Promise<void> => {
    count += 1;
    if (count > 1) {
      kill();
    } else if (await signalContainer(server, containerId, signal)) {
      note(`sent ${signal} to the container; the next one kills it`);
    } else {
      note(`${signal} cannot be sent to the container: killing it`);
      kill();
    }
  };
  return server.captureSignals?.((signal) => {
    if (signal === "SIGHUP") leave({ kind: "lost", exitCode: hungUp });
    else void handle(signal);
  });
}

/** Sets this terminal to raw mode, before the first output: keys must not be echoed here as well. */
function rawTerminal(): Disposable | undefined {
  const { stdin } = process;
  if (!stdin.isTTY) return undefined;
  stdin.setRawMode(true);
  return {
    [Symbol.dispose]: () => {
      // The terminal may be gone.
      stdin.on("error", () => undefined).setRawMode(false);
    },
  };
}

/** Notices that nobody reads the output any more: a closed pipe, or a terminal that is gone. */
function watchOutputs(leave: (end: ForegroundEnd) => void): Disposable {
  using stack = new DisposableStack();
  for (const output of [process.stdout, process.stderr]) {
    stack.use(
      takeErrors(output, ({ code }) => {
        leave({ kind: "lost", exitCode: code === "EPIPE" ? exitCode.done : exitCode.failed });
      }),
    );
  }
  return stack.move();
}
