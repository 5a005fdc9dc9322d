import { setImmediate } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { beforeAbort, valueWithin } from "../../../base/wait.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { ConsoleSocket, type DescriptorStream } from "../../../linux/stream/index.ts";
import { withConsoleSize } from "../../../oci-spec/index.ts";
import { execLimits } from "../../../stdio/exec-session.ts";
import { drain, feed, Pump } from "../../../stdio/pump.ts";
import { TerminalSizes } from "../../../stdio/terminal-sizes.ts";
import type { Command, ExecDeps } from "./command.ts";
import type { BoundStdio, ClientRun, StdioBinding } from "./stdio-binding.ts";

/** What a command with a terminal is run with. */
export interface TerminalDeps extends ExecDeps {
  /** A directory that only root may enter, for console sockets. */
  readonly consoles: string;
}

/** How long it may take to receive a terminal that the runtime has already sent. */
const receiveMs = 1_000;
/** The same for a command that could not be run: there may be no terminal, and the reason is read from it. */
const receiveFailedMs = 100;

/** The streams of a command with a terminal, of which the runtime sends us the master side. */
export async function openTerminal(
  deps: TerminalDeps,
  { target, spec, client }: ClientRun,
): Promise<StdioBinding> {
  using opened = new DisposableStack();
  const console = opened.use(new ConsoleSocket(deps.consoles));
  const sizes = opened.use(new TerminalSizes(client.streams.sizes));
  // A size that the client has already sent arrives before the command is created.
  await setImmediate();
  const owned = opened.move();
  return {
    io: { stdin: "null", stdout: "null", consoleSocket: console.path },
    // If the client was quick, its terminal has a size before davit gets it, and so before the command gets input.
    // NOTE(crun): it lets the command begin first. One that asks at once may see no size, and then gets SIGWINCH.
    spec: () => withConsoleSize(spec, sizes.latest),
    bind: async (command, operation): Promise<BoundStdio> => {
      const errors = new Pump(command.child.stderr, undefined, () => Promise.resolve(false));
      const terminal = await receiveTerminal(command, console, errors, operation);
      sizes.follow((size) => {
        try {
          terminal.resize(size);
        } catch (error) {
          // The terminal keeps its size.
          deps.log.debug(
            `failed to resize terminal in container "${target.id}": ${messageOf(error)}`,
          );
        }
      });
      const stop = feed(client.streams.stdin, terminal);
      // NOTE(crun): with a terminal, it writes there why a command cannot be executed.
      const out = new Pump(terminal, client.streams.stdout, () => command.hasBegun());
      const release = (): void => {
        stop();
        terminal.destroy();
        errors.stop();
      };
      return { pumps: [out, errors], [Symbol.dispose]: release };
    },
    [Symbol.dispose]: () => {
      owned.dispose();
    },
  };
}

/** The terminal that the runtime created for the command; rejects with the runtime's failure if it created none. */
async function receiveTerminal(
  command: Command,
  console: ConsoleSocket,
  errors: Pump,
  operation: Operation,
): Promise<DescriptorStream> {
  const { signal } = operation;
  const { exited } = command.child;
  try {
    const first = await beforeAbort(Promise.race([console.terminal, exited]), signal);
    if (!("code" in first)) return first;
    // It is sent before the command begins, but a short command may have ended before we received it.
    const timeoutMs = (await command.hasBegun()) ? receiveMs : receiveFailedMs;
    const late = await beforeAbort(valueWithin(console.terminal, timeoutMs), signal);
    if (late !== undefined) return late;
    await drain([errors], execLimits.drainMs, signal);
    await command.exitCode(errors.withheld);
    throw new RuntimeError("unknown", "OCI runtime exec: it ended without sending a terminal");
  } catch (error) {
    await command.kill();
    errors.stop();
    // A terminal that arrives later is not used.
    console.terminal.then(
      (terminal) => terminal.destroy(),
      () => undefined,
    );
    throw error;
  }
}
