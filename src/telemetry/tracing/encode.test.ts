import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import {
  type ExportTraceServiceRequest,
  ExportTraceServiceRequestSchema,
} from "../../gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.ts";
import {
  Span_SpanKind,
  Status_StatusCode,
} from "../../gen/opentelemetry/proto/trace/v1/trace_pb.ts";
import { jsonEncoder, protobufEncoder } from "./encode.ts";
import { newSpanId, newTraceId, type Span } from "./span.ts";

const origin = {
  resource: { "service.name": "davit", "process.pid": 42 },
  version: "1.2.3",
};

const span = (more: Partial<Span> = {}): Span => ({
  traceId: newTraceId(),
  spanId: newSpanId(),
  parentId: newSpanId(),
  isParentRemote: false,
  traceState: "",
  name: "prepare cgroup",
  kind: "internal",
  startMs: 1_796_076_700_000.25,
  endMs: 1_796_076_700_012.5,
  attributes: {},
  ...more,
});

function decoded(parts: readonly Span[]): ExportTraceServiceRequest {
  const encoder = protobufEncoder(origin);
  const body = encoder.request(parts.map((each) => encoder.encode(each)));
  return fromBinary(ExportTraceServiceRequestSchema, body);
}

test("a request has the process once and all spans with every field", () => {
  const root = span({
    parentId: undefined,
    kind: "server",
    name: "runtime.v1.RuntimeService/Status",
    attributes: { text: "a", whole: 7, part: 0.5, yes: true },
  });
  const child = span({
    traceId: root.traceId,
    parentId: root.spanId,
    isParentRemote: true,
    traceState: "a=b",
    error: "no space",
  });
  const { resourceSpans } = decoded([root, child]);
  assert.equal(resourceSpans.length, 1);
  const [process] = resourceSpans;
  assert.deepEqual(
    process?.resource?.attributes.map(({ key, value }) => [key, value?.value.value]),
    [
      ["service.name", "davit"],
      ["process.pid", 42n],
    ],
  );
  assert.equal(process?.scopeSpans.length, 1);
  const [scoped] = process?.scopeSpans ?? [];
  assert.deepEqual([scoped?.scope?.name, scoped?.scope?.version], ["davit", "1.2.3"]);
  const [first, second] = scoped?.spans ?? [];
  assert.equal(scoped?.spans.length, 2);
  assert.deepEqual(first?.traceId, root.traceId);
  assert.deepEqual(first?.spanId, root.spanId);
  assert.equal(first?.parentSpanId.length, 0);
  assert.equal(first?.kind, Span_SpanKind.SERVER);
  assert.equal(first?.startTimeUnixNano, 1_796_076_700_000_250_000n);
  assert.equal(first?.endTimeUnixNano, 1_796_076_700_012_500_000n);
  assert.equal(first?.flags, 0x101);
  assert.equal(first?.status, undefined);
  assert.deepEqual(
    first?.attributes.map(({ key, value }) => [key, value?.value.case, value?.value.value]),
    [
      ["text", "stringValue", "a"],
      ["whole", "intValue", 7n],
      ["part", "doubleValue", 0.5],
      ["yes", "boolValue", true],
    ],
  );
  assert.deepEqual(second?.parentSpanId, root.spanId);
  assert.equal(second?.kind, Span_SpanKind.INTERNAL);
  assert.equal(second?.traceState, "a=b");
  assert.equal(second?.flags, 0x301);
  assert.equal(second?.status?.code, Status_StatusCode.ERROR);
  assert.equal(second?.status?.message, "no space");
});

test("JSON has the same spans, with hexadecimal ids and numbers for enumerations", () => {
  const encoder = jsonEncoder(origin);
  const subject = span({ kind: "server", attributes: { whole: 7 }, error: "no space" });
  const body = encoder.request([subject, span()].map((each) => encoder.encode(each)));
  const read = JSON.parse(Buffer.from(body).toString("utf8")) as {
    readonly resourceSpans: readonly [
      { readonly resource: unknown; readonly scopeSpans: readonly [Record<string, unknown>] },
    ];
  };
  const hex = (id: Uint8Array | undefined): string => Buffer.from(id ?? []).toString("hex");
  const [{ resource, scopeSpans }] = read.resourceSpans;
  assert.deepEqual(resource, {
    attributes: [
      { key: "service.name", value: { stringValue: "davit" } },
      { key: "process.pid", value: { intValue: "42" } },
    ],
  });
  const [{ scope, spans }] = scopeSpans;
  assert.deepEqual(scope, { name: "davit", version: "1.2.3" });
  assert.equal((spans as unknown[]).length, 2);
  assert.deepEqual((spans as unknown[])[0], {
    traceId: hex(subject.traceId),
    spanId: hex(subject.spanId),
    parentSpanId: hex(subject.parentId),
    name: "prepare cgroup",
    kind: 2,
    startTimeUnixNano: "1796076700000250000",
    endTimeUnixNano: "1796076700012500000",
    attributes: [{ key: "whole", value: { intValue: "7" } }],
    status: { message: "no space", code: 2 },
    flags: 0x101,
  });
});

test("texts of others cannot break a request, and errors are cut", () => {
  const { resourceSpans } = decoded([
    span({
      name: "network plugin \u001b[2J",
      attributes: { text: "a\ud800\n" },
      error: "e".repeat(10_000),
    }),
  ]);
  const [read] = resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
  assert.equal(read?.name, "network plugin \\u001b[2J");
  assert.equal(read?.attributes[0]?.value?.value.value, "a\ufffd\\u000a");
  assert.equal(read?.status?.message.length, 2048);
});
