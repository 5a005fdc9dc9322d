// Commands of a fake server.
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import * as containers from "../../gen/davit/v1/containers_pb.ts";
import type { Call } from "../../wire/grpc/call.ts";
import type { Tested } from "./fake-methods.ts";

/** Exec: runs the command as a process of this machine. */
export async function* execMethod(
  fake: Tested,
  requests: AsyncIterable<Uint8Array>,
  { signal }: Call,
): AsyncGenerator<Uint8Array> {
  const input = decode(requests);
  const step = await input.next();
  const first = step.done === true ? undefined : step.value;
  if (first?.part.case !== "start") throw new RuntimeError("invalid-argument", "exec: no start");
  const failure = fake.failures.get("Exec");
  fake.failures.delete("Exec");
  if (failure !== undefined) throw failure;
  const { command, env, workingDir, stdin } = first.part.value;
  const [program = "", ...args] = command;
  const variables = env.map(({ name, value }) => [name, Buffer.from(value).toString()] as const);
  const child = spawn(program, args, {
    stdio: "pipe",
    cwd: workingDir === "" ? undefined : workingDir,
    env: { PATH: process.env["PATH"], ...Object.fromEntries(variables) },
  });
  if (!stdin) child.stdin.end();
  const queue = outputsOf(child);
  signal.addEventListener("abort", () => child.kill("SIGKILL"), { once: true });
  feed(input, child).catch(() => undefined);
  yield* queue;
}

async function* decode(
  requests: AsyncIterable<Uint8Array>,
): AsyncGenerator<containers.ExecRequest> {
  for await (const bytes of requests) yield fromBinary(containers.ExecRequestSchema, bytes);
}

async function feed(
  input: AsyncIterable<containers.ExecRequest>,
  child: ChildProcess,
): Promise<void> {
  child.stdin?.on("error", () => undefined);
  for await (const { part } of input) {
    if (part.case === "stdin") child.stdin?.write(part.value);
    if (part.case === "stdinEnd") child.stdin?.end();
    if (part.case === "signal") child.kill(part.value as NodeJS.Signals);
  }
  child.stdin?.end();
}

async function* outputsOf(child: ChildProcess): AsyncGenerator<Uint8Array> {
  type Part = MessageInitShape<typeof containers.ExecResponseSchema>["part"];
  const parts: Part[] = [];
  const state: { failure?: Error; wake?: () => void } = {};
  const add = (part: Part): void => {
    parts.push(part);
    state.wake?.();
  };
  child.on("spawn", () => add({ case: "started", value: {} }));
  child.on("error", (error) => {
    state.failure = error;
    state.wake?.();
  });
  child.stdout?.on("data", (value: Buffer) => add({ case: "stdout", value }));
  child.stderr?.on("data", (value: Buffer) => add({ case: "stderr", value }));
  child.on("close", (code, signal) => {
    const exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
    add({ case: "end", value: { exitCode } });
  });
  for (;;) {
    const part = parts.shift();
    if (part !== undefined) {
      const message = create(containers.ExecResponseSchema, { part });
      yield toBinary(containers.ExecResponseSchema, message);
      if (part.case === "end") return;
    } else if (state.failure !== undefined) {
      const program = child.spawnfile;
      throw new RuntimeError("not-found", `exec: executable file "${program}" not found in $PATH`);
    } else {
      await new Promise<void>((resolve) => {
        state.wake = resolve;
      });
    }
  }
}
