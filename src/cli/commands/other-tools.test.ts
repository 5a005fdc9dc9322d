/** What the commands of other tools compute, without a server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { CriClient } from "../../client/cri-client.ts";
import { traceCalls } from "../server/trace-calls.ts";
import { stepsOf } from "./history.ts";

test("stepsOf() gives the layers to the steps that have one, the last step first", () => {
  const steps = stepsOf({
    rootfs: { type: "layers", diff_ids: ["sha256:a", "sha256:b"] },
    history: [
      { created: "2026-01-01T00:00:00Z", created_by: "ADD /" },
      { created_by: "ENV A=1", empty_layer: true },
      { created_by: "RUN x", comment: "buildkit" },
      { created_by: 7 },
    ],
  });
  assert.deepEqual(
    steps.map(({ by, layer, comment }) => [by, layer, comment]),
    [
      ["", "", ""],
      ["RUN x", "sha256:b", "buildkit"],
      ["ENV A=1", "", ""],
      ["ADD /", "sha256:a", ""],
    ],
  );
  assert.deepEqual(
    stepsOf({ rootfs: { diff_ids: ["sha256:a", "sha256:b"] } }).map(({ layer }) => layer),
    ["sha256:b", "sha256:a"],
  );
  assert.deepEqual(stepsOf("nonsense"), []);
});

test("traceCalls() writes a line for each call at its end, and passes answers and errors on", async () => {
  const lines: string[] = [];
  async function* events() {
    yield 1;
    await Promise.resolve();
    yield 2;
  }
  const client = {
    runtime: {
      version: (request: object) => Promise.resolve(request),
      getContainerEvents: () => events(),
    },
    image: { removeImage: () => Promise.reject(new RuntimeError("not-found", "no\u001bimage")) },
  };
  const traced = traceCalls(client as unknown as CriClient, (line) =>
    lines.push(line),
  ) as unknown as typeof client;
  assert.deepEqual(await traced.runtime.version({ a: 1 }), { a: 1 });
  const seen: number[] = [];
  for await (const event of traced.runtime.getContainerEvents()) seen.push(event);
  assert.deepEqual(seen, [1, 2]);
  await assert.rejects(traced.image.removeImage(), /no/);
  const time = String.raw`\d+(\.\d+)? (ms|s)`;
  const expected = [
    `runtime.v1.RuntimeService/Version  ${time}  ok`,
    `runtime.v1.RuntimeService/GetContainerEvents  ${time}  ok, 2 messages`,
    `runtime.v1.ImageService/RemoveImage  ${time}  not-found: no\\?image`,
  ];
  assert.equal(lines.length, 3);
  for (const [at, line] of lines.entries())
    assert.match(line, new RegExp(`^${expected[at] ?? ""}$`));
});
