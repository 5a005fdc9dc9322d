import { randomBytes } from "node:crypto";
import { setImmediate } from "node:timers/promises";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ExecResult, ProcessClient } from "../../../../core/container/index.ts";
import type { OciProcess } from "../../../../core/oci/index.ts";
import { specText, withConsoleSize } from "../../../../oci-spec/index.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import type { ClientStreams, ExecEnd } from "../../../../core/streaming/index.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { collectOutput, streamOutput } from "../../../../stdio/exec-session.ts";
import { feed, Pump } from "../../../../stdio/pump.ts";
import { TerminalSizes } from "../../../../stdio/terminal-sizes.ts";
import { removeFifos } from "../container-io.ts";
import { type ExecDeps, type ExecTarget, TaskCommand } from "./command.ts";
import { openCommandStreams } from "./command-streams.ts";

/** The type of a process for a shim: containerd's name for an OCI process as JSON. */
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/** The streams of a command; any other one is /dev/null. */
interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** Runs a command in a task; see ContainerRuntime.execSync. */
export async function execInTask(
  deps: ExecDeps,
  target: ExecTarget,
  spec: OciProcess,
  operation: Operation,
): Promise<ExecResult> {
  const choice = { stdin: false, stdout: true, stderr: true, terminal: false };
  return withCommand(deps, { target, choice, spec: () => spec }, operation, (command) =>
    collectOutput(
      command,
      { stdout: command.stdout?.stream, stderr: command.stderr?.stream },
      operation,
    ),
  );
}

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStreamInTask(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly spec: OciProcess; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  const { streams, terminal } = client;
  const { stdin, stdout, stderr } = streams;
  using sizes = new TerminalSizes(streams.sizes);
  // A size that the client has already sent arrives before the command is created.
  await setImmediate();
  const choice = {
    stdin: stdin !== undefined,
    stdout: stdout !== undefined || terminal,
    stderr: stderr !== undefined && !terminal,
    terminal,
  };
  const spec = (): OciProcess => (terminal ? withConsoleSize(run.spec, sizes.latest) : run.spec);
  const plan = { target, choice, spec, client: streams, ...(terminal ? { sizes } : {}) };
  return await withCommand(deps, plan, operation, async (command) => {
    const pumps = [
      new Pump(command.stdout?.stream, stdout),
      new Pump(command.stderr?.stream, stderr),
    ];
    const stop = feed(stdin, command.stdin?.stream);
    command.stdin?.stream.once("close", () => {
      command.endInput();
    });
    try {
      return await streamOutput(command, { pumps, streams }, operation);
    } finally {
      stop();
      for (const pump of pumps) pump.stop();
    }
  });
}

/** Creates a command's fifos and adds it to the task; both are removed when `use` has settled. */
async function withCommand<T>(
  deps: ExecDeps,
  run: {
    readonly target: ExecTarget;
    readonly choice: StreamChoice;
    readonly spec: () => OciProcess;
    /** The sizes of its terminal. */
    readonly sizes?: TerminalSizes;
    readonly client?: ClientStreams;
  },
  operation: Operation,
  use: (command: TaskCommand) => Promise<T>,
): Promise<T> {
  const { target, choice, sizes, client } = run;
  const { id, shim } = target;
  const execId = `exec-${randomBytes(6).toString("hex")}`;
  const chosen = (["stdin", "stdout", "stderr"] as const).filter((name) => choice[name]);
  const fifos = chosen.map((name) => deps.paths.execFifo(id, `${execId}-${name}`));
  let command: TaskCommand | undefined;
  try {
    await operation.enter("write-spec");
    const { streams, paths } = await openCommandStreams(deps, { target, execId, chosen });
    command = new TaskCommand(deps, target, { execId, streams, fifos, sizes, client }, operation);
    // The shim's OCI runtime moves the command into the container's cgroup.
    await operation.enter("make-cgroup");
    await operation.enter("start-process");
    command.isAdded = true;
    const value = Buffer.from(specText(run.spec()));
    const process = create(AnySchema, { typeUrl: processType, value });
    await shim.task.call(
      Task.method.exec,
      { id, execId, terminal: choice.terminal, ...paths, spec: process },
      { signal: operation.signal },
    );
    return await use(command);
  } finally {
    if (command === undefined) removeFifos(fifos);
    else command.close();
  }
}
