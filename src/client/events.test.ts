import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../base/errors.ts";
import { ContainerEventResponseSchema } from "../gen/runtime/v1/api_pb.ts";
import type { Call, Method } from "../wire/grpc/call.ts";
import { serve } from "../wire/grpc/testing/serving.ts";
import { CriClient } from "./cri-client.ts";
import { type ChangeNews, type EventNews, watchChanges, watchEvents } from "./events.ts";

const never = new AbortController().signal;
const intervalMs = 1;

function event(containerId: string): Uint8Array {
  return toBinary(
    ContainerEventResponseSchema,
    create(ContainerEventResponseSchema, { containerId }),
  );
}

type Handle = (call: Call, turn: number) => AsyncIterable<Uint8Array>;

/** Serves GetContainerEvents; `turn` counts the streams. */
async function serveEvents(
  handle: Handle | undefined,
): Promise<AsyncDisposable & { client: CriClient }> {
  let turns = 0;
  const method: Method = {
    kind: "server-stream",
    handle: (_request, call) => {
      turns += 1;
      return handle?.(call, turns) ?? nothing();
    },
  };
  const methods = new Map<string, Method>(
    handle === undefined ? [] : [["/runtime.v1.RuntimeService/GetContainerEvents", method]],
  );
  const serving = await serve({}, { methods });
  const client = new CriClient(serving.path);
  return {
    client,
    async [Symbol.asyncDispose]() {
      client.close();
      await serving[Symbol.asyncDispose]();
    },
  };
}

async function* nothing(): AsyncIterable<Uint8Array> {
  // Ends at once.
}

/** Waits until the caller has left. */
function left({ signal }: Call): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function word(news: EventNews | ChangeNews | undefined): string {
  return news?.kind === "event" ? news.event.containerId : (news?.kind ?? "end");
}

/** The next `count` news in words; "end" for the end. */
async function take(
  watch: AsyncGenerator<EventNews | ChangeNews, unknown, undefined>,
  count: number,
): Promise<readonly string[]> {
  const words: string[] = [];
  for (let n = 0; n < count; n++) {
    const step = await watch.next();
    words.push(step.done === true ? "end" : word(step.value));
  }
  return words;
}

test("watchEvents() tells when the stream is open, before any event", async () => {
  const gate = Promise.withResolvers<undefined>();
  await using serving = await serveEvents(async function* (call) {
    call.sendHeaders();
    await gate.promise;
    yield event("a");
    await left(call);
  });
  const watch = watchEvents(serving.client, { signal: never, intervalMs });
  assert.deepEqual(await take(watch, 1), ["open"]);
  gate.resolve(undefined);
  assert.deepEqual(await take(watch, 1), ["a"]);
  await watch.return();
});

test("watchEvents() ends its call when the reader leaves", async () => {
  const gone = Promise.withResolvers<undefined>();
  await using serving = await serveEvents(async function* (call) {
    yield event("a");
    await left(call);
    gone.resolve(undefined);
  });
  for await (const news of watchEvents(serving.client, { signal: never })) {
    if (news.kind === "event") break;
  }
  await gone.promise;
});

test("watchEvents() connects again after every end of an open stream", async () => {
  await using serving = await serveEvents(async function* (call, turn) {
    call.sendHeaders();
    yield event(`a${turn}`);
    if (turn === 1) throw new RuntimeError("unavailable", "davit is shutting down");
    if (turn === 3) await left(call);
  });
  const watch = watchEvents(serving.client, { signal: never, intervalMs });
  const want = ["open", "a1", "lost", "open", "a2", "lost", "open", "a3"];
  assert.deepEqual(await take(watch, want.length), want);
  await watch.return();
});

test("watchEvents() returns if the server does not send events", async () => {
  for (const handle of [undefined, () => nothing()]) {
    await using serving = await serveEvents(handle);
    assert.deepEqual(await take(watchEvents(serving.client, { signal: never }), 1), ["end"]);
  }
});

test("watchEvents() throws when it is aborted, wherever it waits", async () => {
  await using serving = await serveEvents(async function* (call, turn) {
    if (turn === 1) throw new RuntimeError("unavailable", "no");
    call.sendHeaders();
    await left(call);
    yield event("late");
  });
  const reason = new RuntimeError("canceled", "Ctrl-C");
  const before = watchEvents(serving.client, { signal: AbortSignal.abort(reason) });
  await assert.rejects(take(before, 1), reason);

  const connecting = new AbortController();
  const watch = watchEvents(serving.client, { signal: connecting.signal, intervalMs: 3_600_000 });
  assert.deepEqual(await take(watch, 1), ["lost"]);
  const pausing = take(watch, 1);
  connecting.abort(reason);
  await assert.rejects(pausing, reason);

  const reading = new AbortController();
  const open = watchEvents(serving.client, { signal: reading.signal });
  assert.deepEqual(await take(open, 1), ["open"]);
  const waiting = take(open, 1);
  reading.abort(reason);
  await assert.rejects(waiting, reason);
});

test("watchChanges() looks at first and when the stream is open", async () => {
  await using serving = await serveEvents(async function* (call, turn) {
    call.sendHeaders();
    yield event(`a${turn}`);
    await left(call);
  });
  const watch = watchChanges(serving.client, { signal: never, intervalMs: 3_600_000 });
  assert.deepEqual(await take(watch, 3), ["look", "look", "a1"]);
  await watch.return();
});

test("watchChanges() looks when a stream is lost, and when the next one is open", async () => {
  const gates = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  await using serving = await serveEvents(async function* (call, turn) {
    call.sendHeaders();
    yield event(`a${turn}`);
    await (gates[turn - 1]?.promise ?? left(call));
  });
  const watch = watchChanges(serving.client, { signal: never, intervalMs });
  for (let turn = 1; turn <= 3; turn++) {
    const words: string[] = [];
    while (words.at(-1) !== `a${turn}`) words.push(...(await take(watch, 1)));
    // At the loss, perhaps in intervals, and when the stream is open.
    assert.ok(
      words.length >= 3 && words.slice(0, -1).every((each) => each === "look"),
      words.join(),
    );
    gates[turn - 1]?.resolve(undefined);
  }
  await watch.return();
});

test("watchChanges() looks in each interval while no stream is open", async () => {
  for (const handle of [undefined, () => nothing()]) {
    await using serving = await serveEvents(handle);
    const watch = watchChanges(serving.client, { signal: never, intervalMs });
    assert.deepEqual(await take(watch, 5), ["look", "look", "look", "look", "look"]);
    await watch.return();
  }
  // A server that sends the headers only with the first event.
  const gate = Promise.withResolvers<undefined>();
  await using serving = await serveEvents(async function* (call) {
    await gate.promise;
    yield event("a");
    await left(call);
  });
  const watch = watchChanges(serving.client, { signal: never, intervalMs });
  assert.deepEqual(await take(watch, 3), ["look", "look", "look"]);
  gate.resolve(undefined);
  for (;;) {
    const [next] = await take(watch, 1);
    if (next === "a") break;
    assert.equal(next, "look");
  }
  await watch.return();
});

test("watchChanges() throws when it is aborted", async () => {
  await using serving = await serveEvents(undefined);
  const caller = new AbortController();
  const watch = watchChanges(serving.client, { signal: caller.signal, intervalMs: 3_600_000 });
  assert.deepEqual(await take(watch, 1), ["look"]);
  const waiting = take(watch, 1);
  const reason = new RuntimeError("canceled", "Ctrl-C");
  caller.abort(reason);
  await assert.rejects(waiting, reason);
});
