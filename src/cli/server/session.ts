import { constants } from "node:os";
import process from "node:process";
import { kindOf, messageOf } from "../../base/errors.ts";
import { type CallOptions, CriClient } from "../../client/cri-client.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { onStopSignals, type StopSignal } from "../stop-signals.ts";
import { chooseEndpoint, type Endpoint } from "./endpoint.ts";
import { explainFailure } from "./explain.ts";

/** The timeout of lists and statuses, which a server has in memory. */
const quickMs = 10_000;

// A response to ExecSync has two streams of 16 MiB, and lists may have many objects.
const maxMessageBytes = 64 * 1024 * 1024;

/** A server that a command is connected to. */
export interface Server {
  readonly client: CriClient;
  readonly endpoint: Endpoint;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Sets the message that is printed when a second Ctrl-C ends the process immediately. */
  readonly onForcedExit?: (message: () => string) => void;
  /** Passes the signals to `handler` instead of aborting `signal`, until the result is disposed of. */
  readonly captureSignals?: (handler: (signal: StopSignal) => void) => Disposable;
  /** Options for a call with a timeout of `ms` (default 10 s), unless --timeout is set. */
  readonly limit: (ms?: number) => CallOptions;
  /** Options for a call without a timeout, unless --timeout is set. */
  readonly unlimited: () => CallOptions;
}

function openClient({ address, chosenBy }: Endpoint): CriClient {
  try {
    return new CriClient(address, { maxMessageBytes });
  } catch (cause) {
    const from = chosenBy === "default" ? "" : ` (from ${chosenBy})`;
    throw new CommandFailure(exitCode.usage, `${messageOf(cause)}${from}`, { cause });
  }
}

async function traced({ terminal }: Call, client: CriClient): Promise<CriClient> {
  const { traceCalls } = await import("./trace-calls.ts");
  const { dim } = terminal.errStyle;
  return traceCalls(client, (line) => terminal.err(`${dim(`debug: ${line}`)}\n`));
}

/**
 * Calls `use` with a client of the server that the command line selects. Ctrl-C cancels the current call,
 * and a second one ends the process immediately. Errors are explained (`explainFailure`).
 */
export async function withServer(
  call: Call,
  use: (server: Server) => Promise<number>,
): Promise<number> {
  const endpoint = chooseEndpoint(call.options.text("endpoint"), process.env);
  const timeoutMs = call.options.durationMs("timeout");
  let message = (): string => "";
  using signals = onStopSignals((signal) => {
    const text = message();
    // Writes to terminals, files and pipes are synchronous on Linux (Node.js, "A note on process I/O").
    if (text !== "") call.terminal.err(`${call.terminal.errStyle.red("davit:")} ${text}\n`);
    process.exit(128 + constants.signals[signal]);
  });
  const { signal } = signals;
  try {
    using own = openClient(endpoint);
    const client = call.options.has("debug") ? await traced(call, own) : own;
    return await use({
      client,
      endpoint,
      signal,
      onForcedExit: (text) => {
        message = text;
      },
      captureSignals: signals.capture,
      limit: (ms = quickMs) => ({ signal, timeoutMs: timeoutMs ?? ms }),
      unlimited: () => (timeoutMs === undefined ? { signal } : { signal, timeoutMs }),
    });
  } catch (error) {
    if (signal.aborted && kindOf(error) === "canceled") {
      throw new CommandFailure(exitCode.interrupted, "interrupted", { cause: error });
    }
    throw explainFailure(error, endpoint);
  }
}
