import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { EventFeed } from "../../engine/events/index.ts";
import { removePodSandbox } from "../../engine/sandbox/index.ts";
import { FakeEngine, never } from "../../engine/testing/engine.ts";
import {
  ContainerEventResponseSchema,
  ContainerEventType,
  ContainerState,
  GetEventsRequestSchema,
  PodSandboxState,
  PodSandboxStatusResponseSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { encodedContainerEvent } from "../convert/container-event.ts";
import { encodedContainerStatus } from "../convert/container-status.ts";
import { encodedSandboxStatus } from "../convert/sandbox-status.ts";
import { getContainerEvents } from "./get-container-events.ts";

const request = create(GetEventsRequestSchema);

function feedOf(engine: FakeEngine, maxBytes = 1_000_000): EventFeed {
  return new EventFeed({
    ...engine.sandboxes,
    containerStore: engine.containers.store,
    limits: { events: 1000, bytes: 1_000_000 },
    encode: (event) => encodedContainerEvent(event, maxBytes),
  });
}

test("getContainerEvents() opens the stream, and sends the statuses of PodSandboxStatus", async (t) => {
  const engine = new FakeEngine(t);
  const events = feedOf(engine);
  const caller = new AbortController();
  const opened = Promise.withResolvers<undefined>();
  const call = { signal: caller.signal, open: () => opened.resolve(undefined) };
  const stream = getContainerEvents({ events }, request, call)[Symbol.asyncIterator]();
  const first = stream.next();
  await opened.promise;
  const pod = await engine.run({ annotations: { key: "value" } });
  const container = await engine.start(pod, { labels: { app: "web" } });
  const got = [await first];
  for (let n = 0; n < 3; n++) got.push(await stream.next());
  const messages = got.map(({ value }) =>
    fromBinary(ContainerEventResponseSchema, value as Uint8Array),
  );
  assert.deepEqual(
    messages.map(({ containerId, containerEventType }) => [containerId, containerEventType]),
    [
      [pod, ContainerEventType.CONTAINER_CREATED_EVENT],
      [pod, ContainerEventType.CONTAINER_STARTED_EVENT],
      [container, ContainerEventType.CONTAINER_CREATED_EVENT],
      [container, ContainerEventType.CONTAINER_STARTED_EVENT],
    ],
  );
  const last = messages.at(-1);
  assert.equal(last?.podSandboxStatus?.metadata?.uid, "uid-1");
  assert.equal(last.podSandboxStatus.state, PodSandboxState.SANDBOX_READY);
  assert.equal(last.containersStatuses[0]?.state, ContainerState.CONTAINER_RUNNING);
  const sandbox = engine.sandboxes.store.get(pod);
  const bytes = Buffer.concat([
    encodedSandboxStatus({
      ...{ sandbox, ready: true, createdAtNs: sandbox.createdAtNs ?? 0n, containers: [] },
      ...{ ips: sandbox.network?.ips ?? [], timestampNs: 0n, info: undefined },
    }),
    encodedContainerStatus(engine.containers.store.get(container)),
  ]);
  const status = fromBinary(PodSandboxStatusResponseSchema, bytes);
  assert.deepEqual(last.podSandboxStatus, status.status);
  assert.deepEqual(last.containersStatuses, status.containersStatuses);
  caller.abort();
  assert.equal((await stream.next()).done, true);
  assert.equal(events.readers, 0);
});

test("getContainerEvents() leaves nothing of a caller that disconnects, early or while it waits", async (t) => {
  const engine = new FakeEngine(t);
  const events = feedOf(engine);
  const open = (): void => undefined;
  const gone = getContainerEvents({ events }, request, { signal: AbortSignal.abort(), open });
  assert.equal((await gone[Symbol.asyncIterator]().next()).done, true);
  assert.equal(events.readers, 0);

  const caller = new AbortController();
  const waiting = getContainerEvents({ events }, request, { signal: caller.signal, open });
  const next = waiting[Symbol.asyncIterator]().next();
  assert.equal(events.readers, 1);
  caller.abort();
  assert.equal((await next).done, true);
  assert.equal(events.readers, 0);
});

test("encodedContainerEvent() leaves the statuses out of a message that no client would accept", async (t) => {
  const engine = new FakeEngine(t);
  const events = feedOf(engine, 2000);
  using reader = events.subscribe();
  const stream = reader[Symbol.asyncIterator]();
  await removePodSandbox(engine.sandboxes, await engine.run(), never);
  await engine.run({ annotations: { large: "x".repeat(2000) } });
  const statuses: boolean[] = [];
  for (let n = 0; n < 6; n++) {
    const { value } = await stream.next();
    const event = fromBinary(ContainerEventResponseSchema, value as Uint8Array);
    statuses.push(event.podSandboxStatus !== undefined);
    assert.match(event.containerId, /^[0-9a-f]{64}$/);
    assert.ok(event.createdAt > 0n);
  }
  assert.deepEqual(statuses, [true, true, true, true, false, false]);
});
