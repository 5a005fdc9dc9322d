import type { Operation } from "../../../core/operation/index.ts";
import type { ClientStreams, ExecEnd } from "../../../core/streaming/index.ts";
import { followSignals } from "../../../stdio/client-signals.ts";
import { streamOutput } from "../../../stdio/exec-session.ts";
import { feed, Pump } from "../../../stdio/pump.ts";
import { type Command, withCommand } from "./command.ts";
import type { ClientRun, StdioBinding } from "./stdio-binding.ts";
import { openTerminal, type TerminalDeps } from "./terminal.ts";

/** Runs a command with a client at its streams; see ContainerRuntime.exec. Throws {@link Declined}. */
export async function execStream(
  deps: TerminalDeps,
  run: ClientRun,
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client, direct } = run;
  using stdio = client.terminal ? await openTerminal(deps, run) : openPipes(run);
  const plan = { target, spec: () => stdio.spec(), io: stdio.io, direct };
  // The await keeps `stdio` until the command has ended.
  return await withCommand(deps, plan, operation, async (command) => {
    using bound = await stdio.bind(command, operation);
    const { streams } = client;
    using told = tellStart(command, streams);
    using _signals =
      streams.signals &&
      whenAccepted(command, () => {
        const send = (number: number): Promise<void> => command.signal(number);
        const following = followSignals(streams.signals, send, deps.log);
        return () => following[Symbol.dispose]();
      });
    const end = await streamOutput(command, { pumps: bound.pumps, streams }, operation);
    told.tell();
    return end;
  });
}

/** Tells the client once that the command runs: as soon as it does, or by `tell` at the end of a short one. */
function tellStart(
  command: Command,
  { onStarted }: ClientStreams,
): Disposable & { readonly tell: () => void } {
  let tell = onStarted;
  const once = (): void => {
    tell?.();
    tell = undefined;
  };
  if (onStarted !== undefined) {
    void command.hasBegun().then((begun) => {
      if (begun) once();
    });
  }
  const dispose = (): void => {
    tell = undefined;
  };
  return { tell: once, [Symbol.dispose]: dispose };
}

/** Calls `start` once a command is accepted, and what it returns when the result is disposed of. */
function whenAccepted(command: Command, start: () => () => void): Disposable {
  const stack = new DisposableStack();
  void command.isAccepted().then((accepted) => {
    if (accepted && !stack.disposed) stack.defer(start());
  });
  return stack;
}

function openPipes({ spec, client, direct }: ClientRun): StdioBinding {
  const { stdin, stdout, stderr } = client.streams;
  return {
    io: {
      stdin: stdin === undefined ? "null" : "pipe",
      // davit's own program passes on no device of the node: see own_streams() of native/exec-command.h.
      stdout: stdout === undefined && direct === undefined ? "null" : "pipe",
    },
    spec: () => spec,
    bind: (command) => {
      const { child } = command;
      const input = stdin && whenAccepted(command, () => feed(stdin, child.stdin));
      const out = new Pump(child.stdout, stdout);
      const err = new Pump(child.stderr, stderr, () => command.hasBegun());
      const release = (): void => {
        input?.[Symbol.dispose]();
        out.stop();
        err.stop();
        child.stdin?.destroy();
      };
      return Promise.resolve({ pumps: [out, err], [Symbol.dispose]: release });
    },
    [Symbol.dispose]: () => undefined,
  };
}
