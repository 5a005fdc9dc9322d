import type { MessageInitShape } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  type CommandInput,
  type CommandOutput,
  type CommandRequest,
  runCommand,
} from "../../engine/streaming/index.ts";
import type {
  ExecRequest,
  ExecResponseSchema,
  ExecStart,
} from "../../gen/davit/v1/containers_pb.ts";
import type { CriContext, RpcCall } from "../context.ts";

/** Exec: runs a command in a container. Its streams are in the messages. */
export async function* exec(
  context: CriContext,
  requests: AsyncIterable<ExecRequest>,
  call: RpcCall,
): AsyncIterable<MessageInitShape<typeof ExecResponseSchema>> {
  const parts = requests[Symbol.asyncIterator]();
  const first = await parts.next();
  const start = first.done === true ? undefined : first.value.part;
  if (start?.case !== "start") throw invalid("the first message must be start");
  const request = commandRequest(start.value);
  const outputs = runCommand(context.containers, request, inputsOf(parts), call.signal);
  for await (const output of outputs) yield response(output);
}

function commandRequest(start: ExecStart): CommandRequest {
  const { containerId, command, env, user, workingDir, terminal, stdin } = start;
  return {
    containerId,
    command,
    envs: env.map(({ name, value }) => ({ key: name, value })),
    user: user === "" ? undefined : user,
    workingDir: workingDir === "" ? undefined : workingDir,
    terminal,
    stdin,
  };
}

async function* inputsOf(parts: AsyncIterator<ExecRequest>): AsyncGenerator<CommandInput> {
  for (let next = await parts.next(); next.done !== true; next = await parts.next()) {
    yield input(next.value);
  }
}

function input({ part }: ExecRequest): CommandInput {
  switch (part.case) {
    case "stdin":
      return { kind: "stdin", bytes: part.value };
    case "stdinEnd":
      return { kind: "stdin-end" };
    case "size":
      return { kind: "size", size: part.value };
    case "signal":
      return { kind: "signal", signal: part.value };
    case "start":
      throw invalid("there is a second start; begin another call for another command");
    case undefined:
      throw invalid("a message has no part that this version of davit knows");
  }
}

function response(output: CommandOutput): MessageInitShape<typeof ExecResponseSchema> {
  switch (output.kind) {
    case "started":
      return { part: { case: "started", value: {} } };
    case "end":
      return { part: { case: "end", value: { exitCode: output.exitCode } } };
    case "stdout":
    case "stderr":
      return { part: { case: output.kind, value: ownBytes(output.bytes) } };
  }
}

/** The same bytes, for the types of messages: buffers of streams are never shared memory. */
function ownBytes({ buffer, byteOffset, length }: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, length);
}

function invalid(why: string): RuntimeError {
  return new RuntimeError("invalid-argument", `exec in a container: ${why}`);
}
