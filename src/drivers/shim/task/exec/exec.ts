import { randomBytes } from "node:crypto";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";

import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import type { ExecResult, ProcessClient } from "../../../../core/container/index.ts";
import type { OciProcess } from "../../../../core/oci/index.ts";
import { specText, withConsoleSize } from "../../../../oci-spec/index.ts";
import type { Operation } from "../../../../core/operation/index.ts";
import { type ExecEnd } from "../../../../core/streaming/index.ts";
import { drain, feed, finish, Pump } from "../../../../stdio/pump.ts";
import { Sizes } from "../../../../stdio/sizes.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { makeFifo } from "../../../../linux/stream/index.ts";
import { removeFifos } from "../container-io.ts";
import { ExecCommand, type ExecDeps, type ExecTarget } from "./command.ts";
import { within } from "../../../../base/wait.ts";

/** What ExecSync answers of each stream at most; api.proto: "16 MB ... the rest is discarded". */
const maxOutputBytes = 16 * 1024 * 1024;
/** How long output is awaited after the command's end: what it left behind may hold it open. */
const drainMs = 250;

/** The type of a process for a shim: containerd's name for an OCI process as JSON. */
const processType = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/** Which streams the command gets; what it does not get is /dev/null. */
interface Wanted {
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
  const wanted = { stdin: false, stdout: true, stderr: true, terminal: false };
  return withCommand(deps, { target, wanted, spec: () => spec }, operation, async (command) => {
    const stdout = new Output(command.stdout?.stream);
    const stderr = new Output(command.stderr?.stream);
    try {
      const exitCode = await command.run();
      await operation.enter("drain-output");
      command.letOutputEnd();
      await within(Promise.all([stdout.ended, stderr.ended]), drainMs);
      return { stdout: stdout.bytes(), stderr: stderr.bytes(), exitCode };
    } catch (error) {
      await command.kill();
      throw error;
    }
  });
}

/** Runs a command with a client at its streams; see ContainerRuntime.exec. */
export async function execStreamInTask(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly spec: OciProcess; readonly client: ProcessClient },
  operation: Operation,
): Promise<ExecEnd> {
  const { target, client } = run;
  const { stdin, stdout, stderr } = client.streams;
  using sizes = new Sizes(client.streams.sizes);
  // One that the client has told already comes in before the command is made.
  await setImmediate();
  const wanted = {
    stdin: stdin !== undefined,
    stdout: stdout !== undefined || client.terminal,
    stderr: stderr !== undefined && !client.terminal,
    terminal: client.terminal,
  };
  const spec = (): OciProcess =>
    client.terminal ? withConsoleSize(run.spec, sizes.latest) : run.spec;
  return await withCommand(deps, { target, wanted, spec }, operation, async (command) => {
    const pumps = [
      new Pump(command.stdout?.stream, stdout),
      new Pump(command.stderr?.stream, stderr),
    ];
    const stop = feed(stdin, command.stdin?.stream);
    command.stdin?.stream.once("close", () => {
      command.endInput();
    });
    try {
      const exitCode = await command.run(() => {
        if (client.terminal) sizes.follow((size) => command.resize(size));
      });
      await operation.enter("drain-output");
      command.letOutputEnd();
      await drain(pumps, drainMs, operation.signal);
      await finish([stdout, stderr], operation.signal);
      return { exitCode };
    } catch (error) {
      await command.hangUp();
      throw error;
    } finally {
      stop();
      for (const pump of pumps) pump.stop();
    }
  });
}

/** Makes a command's fifos and adds it to the task; both are gone when `use` has settled. */
async function withCommand<T>(
  deps: ExecDeps,
  run: { readonly target: ExecTarget; readonly wanted: Wanted; readonly spec: () => OciProcess },
  operation: Operation,
  use: (command: ExecCommand) => Promise<T>,
): Promise<T> {
  const { target, wanted } = run;
  const { id, shim } = target;
  const execId = `exec-${randomBytes(6).toString("hex")}`;
  const pathOf = (name: "stdin" | "stdout" | "stderr"): string =>
    wanted[name] ? deps.places.execFifo(id, `${execId}-${name}`) : "";
  const paths = { stdin: pathOf("stdin"), stdout: pathOf("stdout"), stderr: pathOf("stderr") };
  const made = Object.values(paths).filter((path) => path !== "");
  let command: ExecCommand | undefined;
  try {
    await operation.enter("write-spec");
    for (const path of made) makeFifo(path);
    command = new ExecCommand(deps, target, { execId, paths, fifos: made }, operation);
    // The shim's OCI runtime puts the command into the container's cgroup.
    await operation.enter("make-cgroup");
    await operation.enter("start-process");
    command.added = true;
    const process = create(AnySchema, {
      typeUrl: processType,
      value: Buffer.from(specText(run.spec())),
    });
    await shim.task.call(
      Task.method.exec,
      { id, execId, terminal: wanted.terminal, ...paths, spec: process },
      { signal: operation.signal },
    );
    return await use(command);
  } finally {
    if (command === undefined) removeFifos(made);
    else command.close();
  }
}

/** Reads a stream to its end and keeps its first bytes, so that the writer never blocks. */
class Output {
  readonly ended: Promise<void>;
  readonly #chunks: Buffer[] = [];
  #room = maxOutputBytes;

  constructor(stream: Readable | undefined) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.ended = promise;
    stream?.on("close", () => resolve(undefined));
    stream?.on("data", (chunk: Buffer) => {
      const kept = chunk.subarray(0, this.#room);
      this.#room -= kept.length;
      if (kept.length > 0) this.#chunks.push(kept);
    });
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#chunks);
  }
}
