import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { CriClient } from "../../client/cri-client.ts";
import {
  ListContainersResponseSchema,
  ListPodSandboxResponseSchema,
  StatusResponseSchema,
  VersionResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { LiveState } from "../../page/view.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import type { Server } from "../server/session.ts";
import { Live } from "./live.ts";
import { Poller } from "./poller.ts";

/** A CRI server that is not davit and has no statistics, images or verbose information. */
function plainServer(): ReadonlyMap<string, Method> {
  const answers = {
    Version: toBinary(
      VersionResponseSchema,
      create(VersionResponseSchema, { runtimeName: "other", runtimeVersion: "9" }),
    ),
    Status: toBinary(
      StatusResponseSchema,
      create(StatusResponseSchema, {
        status: {
          conditions: [
            { type: "RuntimeReady", status: true },
            { type: "NetworkReady", status: false, reason: "Why", message: "no network" },
          ],
        },
        info: { config: "{}" },
      }),
    ),
    ListPodSandbox: toBinary(
      ListPodSandboxResponseSchema,
      create(ListPodSandboxResponseSchema, {
        items: [{ id: "p1", metadata: { name: "web", namespace: "default" } }],
      }),
    ),
    ListContainers: toBinary(
      ListContainersResponseSchema,
      create(ListContainersResponseSchema, { containers: [] }),
    ),
  };
  return new Map(
    Object.entries(answers).map(([name, bytes]): [string, Method] => [
      `/runtime.v1.RuntimeService/${name}`,
      { kind: "unary", handle: () => Promise.resolve(bytes) },
    ]),
  );
}

test("Poller shows a server that is not davit, and says what it does not report", async () => {
  await using serving = await serve({}, { methods: plainServer() });
  using client = new CriClient(serving.path);
  const ending = new AbortController();
  const server: Server = {
    client,
    endpoint: { address: serving.path, chosenBy: "--endpoint" },
    signal: ending.signal,
    limit: () => ({ timeoutMs: 10_000 }),
    unlimited: () => ({}),
  };
  const state: Partial<LiveState> = {};
  const { promise: polled, resolve } = Promise.withResolvers<unknown>();
  const live = new Live((pages) => poller.setPages(pages));
  const poller = new Poller(server, live, false);
  const page = Object.assign(new EventEmitter(), {
    write: (text: string) => {
      const part = JSON.parse(text) as Partial<LiveState>;
      Object.assign(state, part);
      // The last section of a round.
      if (part.link !== undefined) resolve(undefined);
      return true;
    },
  });
  // Only what Live uses of a response.
  assert.ok(live.open(page as unknown as ServerResponse));
  await polled;
  ending.abort();
  page.emit("close");
  assert.deepEqual(state.link, { ok: true, message: "" });
  assert.deepEqual(
    [state.node?.runtime, state.node?.version, state.node?.isDavit, state.node?.canWrite],
    ["other", "9", false, false],
  );
  assert.deepEqual(state.node?.conditions, [
    { type: "RuntimeReady", ok: true, reason: "" },
    { type: "NetworkReady", ok: false, reason: "Why: no network" },
  ]);
  const [pod] = state.pods ?? [];
  assert.deepEqual([pod?.name, pod?.usage.cpu, pod?.ip], ["web", undefined, ""]);
  assert.deepEqual(state.timeline, { supported: false, starts: [] });
  assert.deepEqual(state.activity?.supported, false);
});
