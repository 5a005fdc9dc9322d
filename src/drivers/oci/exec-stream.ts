import { setImmediate } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/rollback.ts";
import type { ProcessClient } from "../../core/container/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  drain,
  type ExecEnd,
  feed,
  finish,
  Pump,
  Sizes,
  type TerminalSize,
} from "../../core/streaming/index.ts";
import { ConsoleSocket, type DescriptorStream } from "../../linux/index.ts";
import { type Command, drainMs, type ExecDeps, type ExecTarget, withCommand } from "./command.ts";
import { within } from "./container-end.ts";

/** What a command of a client is run with. */
interface Deps extends ExecDeps {
  /** A folder that is closed to others. */
  readonly consoles: string;
}

/** How long the taking over of a terminal may take that was handed over already. */
const handOverMs = 1_000;
/** The same for a command that could not be run: there need not be one, and why is said in it. */
const failedMs = 100;

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStream(
  deps: Deps,
  run: { readonly target: ExecTarget; readonly spec: string; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  return run.client.terminal ? inTerminal(deps, run, operation) : withPipes(deps, run, operation);
}

async function withPipes(
  deps: Deps,
  run: { readonly target: ExecTarget; readonly spec: string; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  const { stdin, stdout, stderr } = client.streams;
  const io = {
    stdin: stdin === undefined ? "null" : "pipe",
    stdout: stdout === undefined ? "null" : "pipe",
  } as const;
  const plan = { target, spec: () => run.spec, io };
  return withCommand(deps, plan, operation, async (command) => {
    const { child } = command;
    const stop = feed(stdin, child.stdin);
    const out = new Pump(child.stdout, stdout);
    const err = new Pump(child.stderr, stderr, () => command.hasBegun());
    try {
      return await toTheEnd(command, { pumps: [out, err], client }, operation);
    } finally {
      stop();
      out.stop();
      err.stop();
      child.stdin?.destroy();
    }
  });
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

async function inTerminal(
  deps: Deps,
  run: { readonly target: ExecTarget; readonly spec: string; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  using console = new ConsoleSocket(deps.consoles);
  using sizes = new Sizes(client.streams.sizes);
  // One that the client has told already comes in before the command is made.
  await setImmediate();
  const plan = {
    target,
    // The client's terminal has a size before the command can ask for it, if the client was quick.
    spec: () => withSize(run.spec, sizes.latest),
    io: { stdin: "null", stdout: "null", consoleSocket: console.path } as const,
  };
  // What is disposed of here must stay until then.
  return await withCommand(deps, plan, operation, async (command) => {
    const words = new Pump(command.child.stderr, undefined, () => Promise.resolve(false));
    const terminal = await terminalOf(command, console, words, operation);
    sizes.follow((size) => {
      terminal.resize(size);
    });
    const stop = feed(client.streams.stdin, terminal);
    // NOTE(crun): with a terminal, why a command cannot be executed is said there.
    const out = new Pump(terminal, client.streams.stdout, () => command.hasBegun());
    try {
      return await toTheEnd(command, { pumps: [out, words], client }, operation);
    } finally {
      stop();
      terminal.destroy();
      words.stop();
    }
  });
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

/** `spec`, the text of a process, with the size of its terminal (runtime-spec, config.md, process). */
function withSize(spec: string, size: TerminalSize | undefined): string {
  if (size === undefined) return spec;
  const process = JSON.parse(spec) as object;
  return JSON.stringify({ ...process, consoleSize: { height: size.height, width: size.width } });
}
