import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { EventsResponseSchema } from "../../gen/davit/v1/daemon_pb.ts";
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

const [podId, containerId] = ["ab".repeat(32), "cd".repeat(32)];
const metadata = { name: "web", namespace: "default", uid: "u" };

const lists: Readonly<Record<string, Method>> = {
  ListPodSandbox: {
    kind: "unary",
    handle: async () =>
      toBinary(
        ListPodSandboxResponseSchema,
        create(ListPodSandboxResponseSchema, { items: [{ id: podId, metadata }] }),
      ),
  },
  ListContainers: {
    kind: "unary",
    handle: async () =>
      toBinary(
        ListContainersResponseSchema,
        create(ListContainersResponseSchema, {
          containers: [{ id: containerId, podSandboxId: podId, metadata: { name: "app" } }],
        }),
      ),
  },
};

/** Runs davit events with a server with one container, whose GetContainerEvents is `events`. */
async function eventsOf(
  events: Method | undefined,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  return await bothOf({ ofPods: events }, ...args);
}

/** The same, with the events of a davit node. */
async function bothOf(
  { ofPods, ofNode }: { readonly ofPods?: Method | undefined; readonly ofNode?: Method },
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  const table = { ...lists, ...(ofPods && { GetContainerEvents: ofPods }) };
  const methods = new Map(
    Object.entries(table).map(([name, method]) => [`/runtime.v1.RuntimeService/${name}`, method]),
  );
  if (ofNode !== undefined) methods.set("/davit.v1.Daemon/Events", ofNode);
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

const timeNs = 1_700_000_000_250_000_000n;

/** Serves these events of the node, and ends the command when they were sent. */
function servingNode(
  events: readonly MessageInitShape<typeof EventsResponseSchema>["event"][],
): Parameters<typeof bothOf>[0] {
  const sent = Promise.withResolvers<undefined>();
  return {
    ofNode: {
      kind: "server-stream",
      async *handle() {
        yield toBinary(EventsResponseSchema, create(EventsResponseSchema, {}));
        for (const event of events) {
          const message = create(EventsResponseSchema, { timeNs, ...(event && { event }) });
          yield toBinary(EventsResponseSchema, message);
        }
        // The last one was read when the stream has ended.
        setTimeout(() => sent.resolve(undefined), 100);
        await sent.promise;
      },
    },
    ofPods: {
      kind: "server-stream",
      async *handle(_request, call) {
        call.sendHeaders();
        yield event("web", ContainerEventType.CONTAINER_STARTED_EVENT);
        await sent.promise;
        throw new RuntimeError("unimplemented", "the end of the test");
      },
    },
  };
}

const nodeEvents: readonly MessageInitShape<typeof EventsResponseSchema>["event"][] = [
  {
    case: "imagePulled",
    value: { id: `sha256:${"12".repeat(32)}`, name: "docker.io/library/a:1" },
  },
  { case: "imageRemoved", value: { id: `sha256:${"12".repeat(32)}`, names: ["a:1", "b:1"] } },
  { case: "oomKilled", value: { containerId: "cd".repeat(32), sandboxId: "ab".repeat(32) } },
  { case: "pluginConnected", value: { index: "10", name: "device-injector" } },
  { case: "pluginLost", value: { index: "10", name: "device-injector", reason: "died\u001b[2J" } },
];

test("davit events prints the events of a davit node among the others", async () => {
  const { out, err } = await bothOf(servingNode(nodeEvents));
  assert.deepEqual(
    out
      .replaceAll(/^\S+ \S+\.250/gm, "TIME")
      .split("\n")
      .toSorted(),
    [
      "",
      "TIME  image pulled  docker.io/library/a:1  121212121212",
      "TIME  image removed  a:1  b:1  121212121212",
      "TIME  oom killed  default/web/app",
      "TIME  plugin connected  10-device-injector",
      "TIME  plugin lost  10-device-injector: died?[2J",
      "TIME  started  default/web/app  app:1",
    ],
  );
  assert.equal(err.split("\n")[0], "davit: watching events");
});

test("davit events selects the events of a davit node", async () => {
  for (const [args, kinds] of [
    [
      ["--event", "plugin"],
      ["plugin connected", "plugin lost"],
    ],
    [
      ["--event", "image", "--event", "oom"],
      ["image pulled", "image removed", "oom killed"],
    ],
    [
      ["-n", "default"],
      ["oom killed", "started"],
    ],
    [["-n", "other"], []],
    [["web/app"], ["oom killed", "started"]],
  ] as const) {
    const { out } = await bothOf(servingNode(nodeEvents), ...args);
    const found = out.split("\n").flatMap((line) => line.split("  ")[1] ?? []);
    assert.deepEqual(found.toSorted(), kinds, args.join(" "));
  }
});

test("davit events -o json has a type for the events of a davit node", async () => {
  const { out } = await bothOf(servingNode(nodeEvents.slice(-1)), "-o", "json");
  const messages = out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { readonly type?: string });
  assert.deepEqual(
    messages.find(({ type }) => type !== undefined),
    {
      ...{ type: "plugin-lost", timeNs: String(timeNs) },
      ...{ name: "device-injector", index: "10", reason: "died\u001b[2J" },
    },
  );
  assert.equal(messages.length, 2);
});

test("davit events fails at once without a server", async () => {
  const terminal = recordedTerminal();
  assert.equal(await main(["events", "--endpoint", "/nowhere.sock"], terminal), 4);
});
