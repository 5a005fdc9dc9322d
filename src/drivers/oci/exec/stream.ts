import type { Operation } from "../../../core/operation/index.ts";
import type { ExecEnd } from "../../../core/streaming/index.ts";
import { streamOutput } from "../../../stdio/exec-session.ts";
import { feed, Pump } from "../../../stdio/pump.ts";
import { withCommand } from "./command.ts";
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
    const output = { pumps: bound.pumps, streams: client.streams };
    return await streamOutput(command, output, operation);
  });
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
