import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import {
  ContainerEventResponseSchema,
  ContainerEventType,
  ListContainersResponseSchema,
  ListPodSandboxResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { main } from "../main.ts";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";

const lists: Readonly<Record<string, Method>> = {
  ListPodSandbox: {
    kind: "unary",
    handle: async () =>
      toBinary(ListPodSandboxResponseSchema, create(ListPodSandboxResponseSchema)),
  },
  ListContainers: {
    kind: "unary",
    handle: async () =>
      toBinary(ListContainersResponseSchema, create(ListContainersResponseSchema)),
  },
};

/** Runs davit events with a server without objects, whose GetContainerEvents is `events`. */
async function eventsOf(
  events: Method | undefined,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  const table = { ...lists, ...(events && { GetContainerEvents: events }) };
  const methods = new Map(
    Object.entries(table).map(([name, method]) => [`/runtime.v1.RuntimeService/${name}`, method]),
  );
  await using serving = await serve({}, { methods });
  const terminal = recordedTerminal();
  const code = await main(["events", "--endpoint", serving.path, ...args], terminal);
  return { code, ...terminal.written };
}

function event(name: string, containerEventType: ContainerEventType): Uint8Array {
  const message = create(ContainerEventResponseSchema, {
    containerId: "cd".repeat(32),
    containerEventType,
    createdAt: 1_700_000_000_250_000_000n,
    podSandboxStatus: { id: "ab".repeat(32), metadata: { name, namespace: "default" } },
    containersStatuses: [
      {
        id: "cd".repeat(32),
        metadata: { name: "app" },
        image: { image: "app:1" },
        exitCode: 137,
        reason: "OOMKilled",
        message: 'evicted by plugin "10-topology": \u001b[2Jtoo loud\n',
      },
    ],
  });
  return toBinary(ContainerEventResponseSchema, message);
}

test("davit events fails with 5 if the server does not send events", async () => {
  const disabled: Method = {
    kind: "server-stream",
    async *handle() {
      // CRI-O without enable_pod_events.
    },
  };
  for (const method of [undefined, disabled]) {
    const { code, out, err } = await eventsOf(method, "-f");
    assert.deepEqual([code, out], [5, ""]);
    assert.match(err, /the server does not send any; CRI-O requires enable_pod_events/);
  }
});

test("davit events prints events, reports losses, and prints no control characters", async () => {
  let turn = 0;
  const method: Method = {
    kind: "server-stream",
    async *handle(_request, call) {
      turn += 1;
      if (turn === 3) throw new RuntimeError("unimplemented", "the end of the test");
      call.sendHeaders();
      yield event(`web${turn}\u001b[2J`, ContainerEventType.CONTAINER_STOPPED_EVENT);
      yield event("other", ContainerEventType.CONTAINER_DELETED_EVENT);
      if (turn === 1) throw new RuntimeError("unavailable", "davit is shutting down");
    },
  };
  const { code, out, err } = await eventsOf(method, "--event", "stopped");
  assert.equal(code, 5);
  assert.equal(
    out.replaceAll(/^\S+ \S+\.250/gm, "TIME"),
    [1, 2]
      .map(
        (at) =>
          `TIME  stopped  default/web${at}?[2J/app  app:1  code 137  OOMKilled  evicted by plugin "10-topology": ?[2Jtoo loud\n`,
      )
      .join(""),
  );
  assert.deepEqual(err.split("\n").slice(0, 4), [
    "davit: watching events",
    "davit: davit is shutting down; connecting again",
    "davit: watching events again; some are missing",
    "davit: the server has ended the stream; connecting again",
  ]);
});

test("davit events fails at once without a server", async () => {
  const terminal = recordedTerminal();
  assert.equal(await main(["events", "--endpoint", "/nowhere.sock"], terminal), 4);
});
