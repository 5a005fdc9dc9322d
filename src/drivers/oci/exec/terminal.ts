import { setImmediate } from "node:timers/promises";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { beforeAbort } from "../../../base/wait.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { withConsoleSize } from "../../../oci-spec/index.ts";
import { drain, feed, Pump } from "../../../stdio/pump.ts";
import { Sizes } from "../../../stdio/sizes.ts";
import { ConsoleSocket, type DescriptorStream } from "../../../linux/stream/index.ts";
import { type Command, drainMs, type ExecDeps } from "./command.ts";
import { within } from "../container-end.ts";
import type { ClientRun, StdioBinding, BoundStdio } from "./stdio-binding.ts";

/** What a command with a terminal is run with. */
export interface TerminalDeps extends ExecDeps {
  /** A directory that is closed to others. */
  readonly consoles: string;
}

/** How long the taking over of a terminal may take that was handed over already. */
const handOverMs = 1_000;
/** The same for a command that could not be run: there need not be one, and why is said in it. */
const failedMs = 100;

/** The ends of a command with a terminal, of which the runtime hands our side over. */
export async function openTerminal(
  deps: TerminalDeps,
  { target, spec, client }: ClientRun,
): Promise<StdioBinding> {
  using opened = new DisposableStack();
  const console = opened.use(new ConsoleSocket(deps.consoles));
  const sizes = opened.use(new Sizes(client.streams.sizes));
  // One that the client has told already comes in before the command is made.
  await setImmediate();
  const kept = opened.move();
  return {
    io: { stdin: "null", stdout: "null", consoleSocket: console.path },
    // The client's terminal has a size before the command can ask for it, if the client was quick.
    spec: () => withConsoleSize(spec, sizes.latest),
    join: async (command, operation): Promise<BoundStdio> => {
      const words = new Pump(command.child.stderr, undefined, () => Promise.resolve(false));
      const terminal = await terminalOf(command, console, words, operation);
      sizes.follow((size) => {
        try {
          terminal.resize(size);
        } catch (error) {
          // What has a size keeps it.
          deps.log.debug(`resize terminal in container "${target.id}": ${messageOf(error)}`);
        }
      });
      const stop = feed(client.streams.stdin, terminal);
      // NOTE(crun): with a terminal, why a command cannot be executed is said there.
      const out = new Pump(terminal, client.streams.stdout, () => command.hasBegun());
      const release = (): void => {
        stop();
        terminal.destroy();
        words.stop();
      };
      return { pumps: [out, words], [Symbol.dispose]: release };
    },
    [Symbol.dispose]: () => {
      kept.dispose();
    },
  };
}

/** The terminal that the runtime made for the command; its failure when it made none. */
async function terminalOf(
  command: Command,
  console: ConsoleSocket,
  words: Pump,
  operation: Operation,
): Promise<DescriptorStream> {
  const { exited } = command.child;
  try {
    const first = await beforeAbort(Promise.race([console.terminal, exited]), operation.signal);
    if (!("code" in first)) return first;
    // It is handed over before the command begins, but the command may have ended before we look.
    const patienceMs = (await command.hasBegun()) ? handOverMs : failedMs;
    if (await beforeAbort(within(console.terminal, patienceMs), operation.signal)) {
      return await console.terminal;
    }
    await drain([words], drainMs, operation.signal);
    await command.exitCode(first, words.words);
    return await nothingCame();
  } catch (error) {
    await command.kill();
    words.stop();
    // One that comes only now is of no use to anybody.
    console.terminal.then(
      (terminal) => terminal.destroy(),
      () => undefined,
    );
    throw error;
  }
}

async function nothingCame(): Promise<never> {
  await Promise.resolve();
  throw new RuntimeError("unknown", "OCI runtime exec: it ended without handing a terminal over");
}
