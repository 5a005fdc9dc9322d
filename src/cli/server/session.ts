import { constants } from "node:os";
import process from "node:process";
import { kindOf, messageOf } from "../../base/errors.ts";
import { type CallOptions, CriClient } from "../../client/cri-client.ts";
import type { Call } from "../command-line/command.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { onStopSignals } from "../stop-signals.ts";
import { chooseEndpoint, type Endpoint } from "./endpoint.ts";
import { explainFailure } from "./explain.ts";

/** Lists and statuses: what a server answers from memory. */
const quickMs = 10_000;

// Two streams of 16 MiB in the answer to one ExecSync, and lists of many objects.
const maxMessageBytes = 64 * 1024 * 1024;

/** A server as the commands speak to it. */
export interface Server {
  readonly client: CriClient;
  readonly endpoint: Endpoint;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** What to tell when a second Ctrl-C ends the process at once. */
  readonly onLeave?: (say: () => string) => void;
  /** For a call that should be answered at once, or within `ms`; --timeout counts more. */
  readonly limit: (ms?: number) => CallOptions;
  /** For a call that may take as long as it wants, unless --timeout is there. */
  readonly patient: () => CallOptions;
}

function openClient({ address, chosenBy }: Endpoint): CriClient {
  try {
    return new CriClient(address, { maxMessageBytes });
  } catch (cause) {
    const from = chosenBy === "default" ? "" : ` (from ${chosenBy})`;
    throw new CommandFailure(exitCode.usage, `${messageOf(cause)}${from}`, { cause });
  }
}

/**
 * Does `use` with a client of the server that the command line names. Ctrl-C cancels the call that
 * is under way, and a second one ends the process at once. Failures are explained to a person.
 */
export async function withServer(
  call: Call,
  use: (server: Server) => Promise<number>,
): Promise<number> {
  const endpoint = chooseEndpoint(call.options.text("endpoint"), process.env);
  const timeoutMs = call.options.durationMs("timeout");
  let say = (): string => "";
  using signals = onStopSignals((signal) => {
    const text = say();
    // Written before exit() goes on: a terminal, a file or a pipe on Linux (Node, "A note on process I/O").
    if (text !== "") call.terminal.err(`${call.terminal.errStyle.red("davit:")} ${text}\n`);
    process.exit(128 + constants.signals[signal]);
  });
  const { signal } = signals;
  try {
    using client = openClient(endpoint);
    return await use({
      client,
      endpoint,
      signal,
      onLeave: (text) => {
        say = text;
      },
      limit: (ms = quickMs) => ({ signal, timeoutMs: timeoutMs ?? ms }),
      patient: () => (timeoutMs === undefined ? { signal } : { signal, timeoutMs }),
    });
  } catch (error) {
    if (signal.aborted && kindOf(error) === "canceled") {
      throw new CommandFailure(exitCode.interrupted, "interrupted", { cause: error });
    }
    throw explainFailure(error, endpoint);
  }
}
