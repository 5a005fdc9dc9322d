import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogFields, Logger } from "../../base/logger.ts";
import { silentLogger } from "../../base/logger.ts";
import { until } from "../../linux/testing/leaks.ts";
import type { SpanEncoder } from "./encode.ts";
import { type ExporterParts, exportTimes, retryDelay, SpanExporter } from "./exporter.ts";
import type { Outcome } from "./otlp-client.ts";
import { newSpanId, newTraceId, type Span } from "./span.ts";
import { SpanQueue } from "./span-queue.ts";

/** A span is encoded as its name. */
const encoder: SpanEncoder = {
  contentType: "text/plain",
  encode: ({ name }) => Buffer.from(name),
  request: (parts) => Buffer.from(parts.map((part) => Buffer.from(part).toString()).join(" ")),
};

const span = (name: string): Span => ({
  traceId: newTraceId(),
  spanId: newSpanId(),
  parentId: undefined,
  isParentRemote: false,
  traceState: "",
  name,
  kind: "internal",
  startMs: 0,
  endMs: 0,
  attributes: {},
});

const limits = { spans: 6, bytes: 1_000, batchSpans: 3, batchBytes: 100 };
const times = {
  gatherMs: 1,
  retryMs: 1,
  maxRetryMs: 1,
  maxThrottleMs: 1,
  flushMs: 10,
};

/** An exporter whose collector answers with the outcomes in order, then accepts everything. */
function exporting(
  outcomes: readonly (Outcome | Promise<Outcome>)[] = [],
  more: Partial<ExporterParts> = {},
): {
  readonly exporter: SpanExporter;
  readonly requests: string[];
  readonly warnings: (LogFields | undefined)[];
} {
  const [requests, warnings]: [string[], (LogFields | undefined)[]] = [[], []];
  const answers = [...outcomes];
  const log: Logger = { ...silentLogger, warn: (_message, fields) => void warnings.push(fields) };
  let running = 0;
  const client: ExporterParts["client"] = {
    send: async (body, signal) => {
      assert.equal(++running, 1, "one request at a time");
      requests.push(Buffer.from(body).toString());
      const gone = new Promise<Outcome>((resolve) => {
        const end = (): void => resolve({ kind: "retry", reason: "davit stopped" });
        if (signal.aborted) end();
        else signal.addEventListener("abort", end);
      });
      const accepted: Outcome = { kind: "accepted" };
      const outcome = await Promise.race([answers.shift() ?? accepted, gone]);
      running -= 1;
      return outcome;
    },
    [Symbol.dispose]: () => undefined,
  };
  const parts = { encoder, client, log, endpoint: "http://c/v1/traces", limits, times, ...more };
  return { exporter: new SpanExporter(parts), requests, warnings };
}

const hanging = new Promise<Outcome>(() => undefined);

test("a queue is bounded in spans and in bytes, and so are its batches", () => {
  const queue = new SpanQueue(limits);
  const texts = (): readonly string[] => queue.take().map((part) => Buffer.from(part).toString());
  for (let at = 0; at < 6; at++) {
    assert.ok(queue.hasRoom);
    queue.push(Buffer.from(String(at)));
  }
  assert.ok(!queue.hasRoom && queue.hasBatch);
  assert.deepEqual(texts(), ["0", "1", "2"]);
  assert.deepEqual(texts(), ["3", "4", "5"]);
  assert.deepEqual([texts(), queue.hasRoom, queue.hasBatch], [[], true, false]);
  // A span that is larger than a batch is a batch.
  for (const bytes of [900, 99, 1, 1]) queue.push(Buffer.alloc(bytes));
  assert.deepEqual([queue.hasRoom, queue.hasBatch], [false, true]);
  assert.deepEqual(
    [1, 2, 3].map(() => queue.take().map(({ length }) => length)),
    [[900], [99, 1], [1]],
  );
  assert.ok(queue.hasRoom);
});

test("spans are sent when there is a batch, and otherwise after a while", async () => {
  const { exporter, requests } = exporting([], { times: { ...times, gatherMs: 3_600_000 } });
  for (const name of ["a", "b", "c", "d"]) exporter.add(span(name));
  await until("a batch is sent", () => requests.length === 1);
  await exporter[Symbol.asyncDispose]();
  assert.deepEqual(requests, ["a b c", "d"]);
  assert.deepEqual(exporter.counts, { sent: 4, waiting: 0, dropped: 0 });

  const soon = exporting();
  soon.exporter.add(span("a"));
  await until("the time is over", () => soon.requests.length === 1);
  soon.exporter.add(span("b"));
  await until("the next span is sent", () => soon.requests.length === 2);
  await soon.exporter[Symbol.asyncDispose]();
});

test("a hanging collector fills the queue; further spans are dropped, with one warning", async () => {
  const { exporter, requests, warnings } = exporting([hanging]);
  for (let at = 0; at < 30; at++) exporter.add(span(String(at)));
  await until("the first batch is on its way", () => requests.length === 1);
  for (let at = 30; at < 40; at++) exporter.add(span(String(at)));
  const { waiting, dropped } = exporter.counts;
  assert.deepEqual([waiting, dropped], [6, 40 - 3 - 6]);
  assert.equal(warnings.length, 1);
  await exporter[Symbol.asyncDispose]();
  assert.equal(exporter.counts.dropped, 40);
  // The second warning is the report at the end.
  assert.deepEqual(
    warnings.map((fields) => fields?.["spans"]),
    [1, 39],
  );
  assert.deepEqual(warnings[1]?.["endpoint"], "http://c/v1/traces");
});

test("a request is repeated while the collector is busy, and dropped after five tries", async () => {
  const busy: Outcome = { kind: "retry", reason: "answered HTTP 503", afterMs: 3_600_000 };
  const { exporter, requests } = exporting([busy, busy]);
  exporter.add(span("a"));
  await until("it is accepted", () => exporter.counts.sent === 1);
  assert.deepEqual(requests, ["a", "a", "a"]);

  const gone = exporting([busy, busy, busy, busy, busy]);
  gone.exporter.add(span("a"));
  await until("it is dropped", () => gone.exporter.counts.dropped === 1);
  gone.exporter.add(span("b"));
  await until("the next one is sent", () => gone.exporter.counts.sent === 1);
  assert.deepEqual(gone.requests, ["a", "a", "a", "a", "a", "b"]);
  assert.equal(gone.warnings[0]?.["reason"], "answered HTTP 503");
  await exporter[Symbol.asyncDispose]();
  await gone.exporter[Symbol.asyncDispose]();
});

test("rejected spans are not sent again", async () => {
  const { exporter, requests } = exporting([
    { kind: "rejected", reason: "answered HTTP 400" },
    { kind: "partial", rejected: 1, reason: "too old" },
    { kind: "partial", rejected: 99, reason: "lies" },
  ]);
  for (const name of ["a", "b", "c", "d", "e", "f"]) exporter.add(span(name));
  await until("both batches are answered", () => exporter.counts.waiting === 0);
  await until("the answers are counted", () => exporter.counts.dropped === 4);
  exporter.add(span("g"));
  await until("the last answer is counted", () => exporter.counts.dropped === 5);
  assert.deepEqual(requests, ["a b c", "d e f", "g"]);
  assert.equal(exporter.counts.sent, 2);
  await exporter[Symbol.asyncDispose]();
});

test("the end does not wait for a collector that is gone", async () => {
  const refused: Outcome = { kind: "retry", reason: "connect ECONNREFUSED" };
  const { exporter, requests, warnings } = exporting([refused, refused, refused], {
    times: { ...times, gatherMs: 3_600_000, retryMs: 3_600_000, maxRetryMs: 3_600_000 },
  });
  for (const name of ["a", "b", "c", "d", "e", "f"]) exporter.add(span(name));
  await until("the first request has failed", () => requests.length === 1);
  await exporter[Symbol.asyncDispose]();
  // The wait for the retry has ended, and the second batch was not tried.
  assert.ok(requests.length <= 3, String(requests));
  assert.equal(exporter.counts.dropped, 6);
  assert.ok(warnings.length <= 2);
  exporter.add(span("late"));
  assert.equal(exporter.counts.dropped, 7);
});

test("waits grow to a limit with a random part; the collector's own wait has precedence", () => {
  const wait = (failures: number, afterMs?: number, random = 1): number =>
    retryDelay(failures, afterMs, exportTimes, () => random);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7, 1_000].map((failures) => wait(failures)),
    [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000],
  );
  assert.equal(wait(2, undefined, 0), 1_000);
  assert.equal(wait(1, 7_000), 7_000);
  assert.equal(wait(1, 10 ** 9), 300_000);
});
