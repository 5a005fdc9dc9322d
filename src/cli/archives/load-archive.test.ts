import assert from "node:assert/strict";
import { test } from "node:test";
import { CriClient } from "../../client/cri-client.ts";
import { echo, serve } from "../../wire/grpc/testing/serving.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { davitOnly } from "./load-archive.ts";

test("another CRI server is explained, and other failures are not changed", async () => {
  await using serving = await serve({ Echo: echo });
  using client = new CriClient(serving.path);
  async function* archive() {
    yield { part: { case: "chunk" as const, value: new Uint8Array(10) } };
  }
  const load = async (): Promise<void> => {
    for await (const _ of client.davit.load(archive()));
  };
  for (const call of [load(), client.davit.tag({ source: "a", target: "b" })]) {
    await assert.rejects(davitOnly<unknown>(call), {
      exitCode: exitCode.unsupported,
      message: /^the server is not davit, or is an older davit: .*--endpoint$/,
    });
  }
  const other = new Error("unknown service of another kind");
  await assert.rejects(davitOnly(Promise.reject(other)), other);
});
