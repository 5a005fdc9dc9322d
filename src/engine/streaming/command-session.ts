import { RuntimeError } from "../../base/errors.ts";
import type { ClientStreams, ExecRequest, TerminalSize } from "../../core/streaming/index.ts";
import { type ExecVariable, execEnv } from "../../oci-spec/index.ts";
import {
  checkCommand,
  checkNotPaused,
  type ContainerContext,
  runningContainer,
} from "../container/index.ts";
import { execInContainer } from "./exec.ts";
import { type CommandInput, CommandInputs } from "./command-inputs.ts";
import { CommandOutputs, type CommandOutput } from "./command-outputs.ts";

/** A command whose streams are messages. */
export interface CommandRequest extends Omit<ExecRequest, "terminal" | "env"> {
  readonly envs: readonly ExecVariable[];
  /** Of the terminal that the command gets. Undefined for none. */
  readonly terminal: TerminalSize | undefined;
  /** False: the command reads end of file. */
  readonly stdin: boolean;
}

/**
 * Runs a command whose streams are messages: `started`, then output as it arrives, and `end` after all of it. No more
 * input is read than the command takes, and no more output than the caller does. When the caller is aborted or
 * does not read on, and when an input is invalid, the command's session is ended as in StreamTargets.exec.
 *
 * The caller need not read the inputs itself, which reject if it is aborted. They can end without the end of the command's
 * stdin, but then the client is considered gone (`aborted`). Errors: those of execInContainer, and `invalid-argument`
 * for inputs that do not fit the request.
 */
export async function* runCommand(
  context: ContainerContext,
  request: CommandRequest,
  messages: AsyncIterable<CommandInput>,
  caller: AbortSignal,
): AsyncGenerator<CommandOutput, void, undefined> {
  const { envs, terminal, stdin, ...asked } = request;
  const container = runningContainer(context, request.containerId, "exec in");
  checkNotPaused(context, container, "exec in");
  const { id: containerId } = container;
  checkCommand(containerId, request.command);
  const env = envs.length === 0 ? {} : { env: execEnv(containerId, envs) };
  const inputs = new CommandInputs({ containerId, stdin, terminal });
  const outputs = new CommandOutputs(terminal !== undefined);
  const leaving = new AbortController();
  const onAbort = (): void => {
    leaving.abort(caller.reason);
  };
  caller.addEventListener("abort", onAbort, { once: true });
  if (caller.aborted) onAbort();
  const streams: ClientStreams = {
    stdin: inputs.stdin,
    stdout: outputs.stdout,
    stderr: outputs.stderr,
    sizes: inputs.sizes,
    signals: inputs.signals,
    onStarted: () => {
      outputs.started();
    },
  };
  const exec = { ...asked, ...env, containerId, terminal: terminal !== undefined };
  let invalid: RuntimeError | undefined;
  const done = execInContainer(context, exec, streams, leaving.signal).then(
    ({ exitCode }) => {
      outputs.end(exitCode);
    },
    (error: unknown) => {
      outputs.fail(invalid ?? error);
    },
  );
  // Only then: a command whose client has left must not take the end of its input for that of the data.
  void done.finally(() => {
    inputs.close();
  });
  inputs.read(messages).catch((error: unknown) => {
    if (error instanceof RuntimeError && !caller.aborted) invalid = error;
    leaving.abort(error);
  });
  try {
    yield* outputs;
  } finally {
    caller.removeEventListener("abort", onAbort);
    leaving.abort(new RuntimeError("canceled", "the client does not read the output any more"));
    outputs.close();
  }
}
