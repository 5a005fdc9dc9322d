import assert from "node:assert/strict";
import { test } from "node:test";
import { CriClient } from "../../client/cri-client.ts";
import { createTerminal } from "../output/terminal.ts";
import { echo, serve } from "../../wire/grpc/testing/serving.ts";
import { removeOwnSnapshot } from "./snapshots.ts";

test("removeOwnSnapshot() says what remains, and leaves the error of the command", async () => {
  await using serving = await serve({ Echo: echo });
  using client = new CriClient(serving.path);
  let text = "";
  const output = { write: (part: string | Uint8Array) => (text += String(part)) };
  const terminal = createTerminal(output, output, {});
  await removeOwnSnapshot({ terminal }, { client }, "3f2a".repeat(16));
  assert.match(
    text,
    /^! .*; the snapshot has the memory of the pod: remove it with "davit snapshots rm 3f2a3f2a3f2a"\n$/,
  );
});
