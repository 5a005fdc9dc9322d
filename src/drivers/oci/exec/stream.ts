import type { ProcessClient } from "../../../core/container/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { type ExecEnd } from "../../../core/streaming/index.ts";
import { drain, feed, finish, Pump } from "../../../stdio/pump.ts";
import { type Command, drainMs, withCommand } from "./command.ts";
import type { ClientRun, StdioBinding } from "./stdio-binding.ts";
import { openTerminal, type TerminalDeps } from "./terminal.ts";

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStream(
  deps: TerminalDeps,
  run: ClientRun,
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  using ends = client.terminal ? await openTerminal(deps, run) : openPipes(run);
  const plan = { target, spec: () => ends.spec(), io: ends.io };
  // What is disposed of here must stay until then.
  return await withCommand(deps, plan, operation, async (command) => {
    using joined = await ends.join(command, operation);
    return await toTheEnd(command, { ...joined, client }, operation);
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
    join: (command) => {
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

/** Rejects when the operation is aborted, the command's session then ended. */
async function toTheEnd(
  command: Command,
  outputs: { readonly pumps: readonly Pump[]; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { stdout, stderr } = outputs.client.streams;
  try {
    const exit = await command.ended();
    await operation.enter("drain-output");
    await drain(outputs.pumps, drainMs, operation.signal);
    const exitCode = await command.exitCode(exit, wordsOf(outputs.pumps));
    await finish([stdout, stderr], operation.signal);
    return { exitCode };
  } catch (error) {
    await command.hangUp();
    throw error;
  }
}

/** What the runtime said, whichever way it came. */
function wordsOf(pumps: readonly Pump[]): Uint8Array {
  return Buffer.concat(pumps.map(({ words }) => words));
}
