import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import {
  type ExportTraceServiceRequest,
  ExportTraceServiceRequestSchema,
} from "../../gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.ts";
import {
  type Span as SpanMessage,
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

const hex = (id: Uint8Array | undefined): string => Buffer.from(id ?? []).toString("hex");

function decoded(parts: readonly Span[]): ExportTraceServiceRequest {
  const encoder = protobufEncoder(origin);
  const body = encoder.request(parts.map((each) => encoder.encode(each)));
  return fromBinary(ExportTraceServiceRequestSchema, body);
}

/** The fields of a span that was read, as plain values. */
function plain(read: SpanMessage | undefined): Readonly<Record<string, unknown>> {
  assert.ok(read);
  const { traceId, spanId, parentSpanId, attributes, status, ...rest } = read;
  return {
    ...rest,
    traceId: hex(traceId),
    spanId: hex(spanId),
    parentSpanId: hex(parentSpanId),
    attributes: attributes.map(({ key, value }) => [key, value?.value.case, value?.value.value]),
    status: status === undefined ? undefined : [status.code, status.message],
  };
}

test("a request has the process and the version once", () => {
  const { resourceSpans } = decoded([span(), span()]);
  assert.equal(resourceSpans.length, 1);
  const [process] = resourceSpans;
  assert.deepEqual(
    process?.resource?.attributes.map(({ key, value }) => [key, value?.value.value]),
    [
      ["service.name", "davit"],
      ["process.pid", 42n],
    ],
  );
  const scopes = process.scopeSpans.map(({ scope, spans }) => [
    scope?.name,
    scope?.version,
    spans.length,
  ]);
  assert.deepEqual(scopes, [["davit", "1.2.3", 2]]);
});

test("spans have every field", () => {
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
  const [first, second] = decoded([root, child]).resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
  const same = {
    $typeName: "opentelemetry.proto.trace.v1.Span",
    traceId: hex(root.traceId),
    startTimeUnixNano: 1_796_076_700_000_250_000n,
    endTimeUnixNano: 1_796_076_700_012_500_000n,
  };
  assert.deepEqual(plain(first), {
    ...same,
    spanId: hex(root.spanId),
    parentSpanId: "",
    traceState: "",
    flags: 0x101,
    name: "runtime.v1.RuntimeService/Status",
    kind: Span_SpanKind.SERVER,
    attributes: [
      ["text", "stringValue", "a"],
      ["whole", "intValue", 7n],
      ["part", "doubleValue", 0.5],
      ["yes", "boolValue", true],
    ],
    status: undefined,
  });
  assert.deepEqual(plain(second), {
    ...same,
    spanId: hex(child.spanId),
    parentSpanId: hex(root.spanId),
    traceState: "a=b",
    flags: 0x301,
    name: "prepare cgroup",
    kind: Span_SpanKind.INTERNAL,
    attributes: [],
    status: [Status_StatusCode.ERROR, "no space"],
  });
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

test("texts of others cannot break a request, and are cut", () => {
  const { resourceSpans } = decoded([
    span({
      name: "network plugin \u001b[2J",
      attributes: { text: "a\ud800\n", long: "l".repeat(10_000) },
      error: "e".repeat(10_000),
    }),
  ]);
  const [read] = resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
  const { name, attributes } = plain(read);
  assert.equal(name, "network plugin \\u001b[2J");
  assert.deepEqual(attributes, [
    ["text", "stringValue", "a\ufffd\\u000a"],
    ["long", "stringValue", "l".repeat(512)],
  ]);
  assert.equal(read?.status?.message.length, 2048);
});
