import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  type ExecRequest,
  type ExecResponse,
  ExecResponseSchema,
} from "../../gen/davit/v1/containers_pb.ts";
import type { CriClient } from "../cri-client.ts";
import { openDavitExec } from "./davit-exec.ts";

type Answer = (requests: AsyncIterable<ExecRequest>) => AsyncIterable<ExecResponse>;

/** A client whose Exec answers like this. */
function clientOf(answer: Answer): Pick<CriClient, "containers"> {
  return { containers: { exec: answer } } as unknown as Pick<CriClient, "containers">;
}

function response(part: ExecResponse["part"]): ExecResponse {
  const message = create(ExecResponseSchema);
  message.part = part;
  return message;
}

const bytes = (words: string) => new TextEncoder().encode(words);
const start = { containerId: "c", command: ["cat"], stdin: true, user: "nobody" };

test("openDavitExec() connects the streams of a command, and returns its exit code", async () => {
  const seen: string[] = [];
  const client = clientOf(async function* (requests) {
    yield response({ case: "started", value: {} } as ExecResponse["part"]);
    for await (const { part } of requests) {
      if (part.case === "start") seen.push(`${part.value.user} ${part.value.command.join(" ")}`);
      if (part.case === "size") seen.push(`${part.value.width}x${part.value.height}`);
      if (part.case === "stdin")
        yield response({ case: "stdout", value: bytes(String(part.value.length)) });
      if (part.case === "stdinEnd") break;
    }
    yield response({ case: "stderr", value: bytes("err") });
    yield response({ case: "end", value: { exitCode: 7 } } as ExecResponse["part"]);
  });
  const command = await openDavitExec(client, start);
  command.resize({ width: 80, height: 24 });
  command.stdin?.end(Buffer.alloc(5));
  const { stdout, stderr } = command;
  assert.ok(stdout !== undefined && stderr !== undefined);
  assert.deepEqual(await Promise.all([text(stdout), text(stderr)]), ["5", "err"]);
  assert.deepEqual(await command.end, { exitCode: 7 });
  assert.deepEqual(seen, ["nobody cat", "80x24"]);
});

test("openDavitExec() rejects where the server has no Exec, and when it tells no end", async () => {
  const unknown = new RuntimeError("unimplemented", "unknown service");
  const none = clientOf(async function* () {
    await Promise.resolve();
    throw unknown;
  });
  await assert.rejects(openDavitExec(none, start), unknown);
  const short = clientOf(async function* () {
    yield response({ case: "started", value: {} } as ExecResponse["part"]);
    await Promise.resolve();
  });
  const command = await openDavitExec(short, { ...start, stdin: false });
  assert.equal(command.stdin, undefined);
  await assert.rejects(command.end, { kind: "unavailable" });
});
