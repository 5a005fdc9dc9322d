import type { Operation } from "../../../core/operation/index.ts";
import type { ClientStreams, ExecEnd } from "../../../core/streaming/index.ts";
import { followSignals } from "../../../stdio/client-signals.ts";
import { streamOutput } from "../../../stdio/exec-session.ts";
import { feed, Pump } from "../../../stdio/pump.ts";
import { type Command, withCommand } from "./command.ts";
import type { ClientRun, StdioBinding } from "./stdio-binding.ts";
import { openTerminal, type TerminalDeps } from "./terminal.ts";

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStream(
  deps: TerminalDeps,
  run: ClientRun,
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  using stdio = client.terminal ? await openTerminal(deps, run) : openPipes(run);
  const plan = { target, spec: () => stdio.spec(), io: stdio.io };
  // The await keeps `stdio` until the command has ended.
  return await withCommand(deps, plan, operation, async (command) => {
    using bound = await stdio.bind(command, operation);
    const { streams } = client;
    using told = tellStart(command, streams);
    using _signals = followSignals(streams.signals, (number) => command.signal(number), deps.log);
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
    command.hasBegun().then(
      (begun) => {
        if (begun) once();
      },
      () => undefined,
    );
  }
  const dispose = (): void => {
    tell = undefined;
  };
  return { tell: once, [Symbol.dispose]: dispose };
}

function openPipes({ spec, client }: ClientRun): StdioBinding {
  const { stdin, stdout, stderr } = client.streams;
  return {
    io: {
      stdin: stdin === undefined ? "null" : "pipe",
      stdout: stdout === undefined ? "null" : "pipe",
    },
    spec: () => spec,
    bind: (command) => {
      const { child } = command;
      const stop = feed(stdin, child.stdin);
      const out = new Pump(child.stdout, stdout);
      const err = new Pump(child.stderr, stderr, () => command.hasBegun());
      const release = (): void => {
        stop();
        out.stop();
        err.stop();
        child.stdin?.destroy();
      };
      return Promise.resolve({ pumps: [out, err], [Symbol.dispose]: release });
    },
    [Symbol.dispose]: () => undefined,
  };
}
