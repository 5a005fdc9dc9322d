import { create, toBinary, toJson, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  InstrumentationScopeSchema,
  type KeyValueSchema,
} from "../../gen/opentelemetry/proto/common/v1/common_pb.ts";
import { ResourceSchema } from "../../gen/opentelemetry/proto/resource/v1/resource_pb.ts";
import {
  ResourceSpansSchema,
  ScopeSpansSchema,
  type Span as SpanMessage,
  Span_SpanKind,
  SpanSchema,
  Status_StatusCode,
} from "../../gen/opentelemetry/proto/trace/v1/trace_pb.ts";
import type { AttributeValue, Span } from "./span.ts";

/** What all spans of this process have in common. */
export interface Origin {
  /** Describes the process: service.name and others. */
  readonly resource: Readonly<Record<string, AttributeValue>>;
  /** The version of davit. */
  readonly version: string;
}

/** Encodes spans one by one when they end, so that no request blocks the event loop with all of them. */
export interface SpanEncoder {
  readonly contentType: string;
  /** The part of a request that a span is. */
  encode(span: Span): Uint8Array;
  /** The body of a request with these parts. */
  request(parts: readonly Uint8Array[]): Uint8Array;
}

/** The longest name or attribute, and the longest error, of a span. Characters. Clients choose most of them. */
const maxText = 512;
const maxError = 2048;

// SpanFlags of OTLP: the W3C flag "sampled", then whether bit 9 is valid, and whether the parent is remote.
const flagsLocal = 0x101;
const flagsRemote = 0x301;

/** OTLP with binary protobuf. */
export function protobufEncoder(origin: Origin): SpanEncoder {
  const head = create(ResourceSpansSchema, { resource: { attributes: list(origin.resource) } });
  const resource = toBinary(ResourceSpansSchema, head);
  const scope = toBinary(ScopeSpansSchema, create(ScopeSpansSchema, { scope: scopeOf(origin) }));
  // A message with one of its repeated fields; the fields of several such messages are one message.
  const field = (number: number, bytes: Uint8Array): Uint8Array =>
    new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(bytes).finish();
  return {
    contentType: "application/x-protobuf",
    encode: (span) => field(2, toBinary(SpanSchema, messageOf(span))),
    request: (parts) =>
      field(1, Buffer.concat([resource, field(2, Buffer.concat([scope, ...parts]))])),
  };
}

/** OTLP with JSON: the ids are hexadecimal and enumerations are numbers, unlike in protobuf's own JSON. */
export function jsonEncoder(origin: Origin): SpanEncoder {
  const resource = toJson(
    ResourceSchema,
    create(ResourceSchema, { attributes: list(origin.resource) }),
  );
  const scope = toJson(
    InstrumentationScopeSchema,
    create(InstrumentationScopeSchema, scopeOf(origin)),
  );
  const start = `{"resourceSpans":[{"resource":${JSON.stringify(resource)},"scopeSpans":[{"scope":${JSON.stringify(scope)},"spans":[`;
  const comma = Buffer.from(",");
  return {
    contentType: "application/json",
    encode: (span) => Buffer.from(JSON.stringify(jsonOf(span))),
    request: (parts) =>
      Buffer.concat([
        Buffer.from(start),
        ...parts.flatMap((part, at) => (at === 0 ? [part] : [comma, part])),
        Buffer.from("]}]}]}"),
      ]),
  };
}

function jsonOf(span: Span): object {
  const message = toJson(SpanSchema, messageOf(span), { enumAsInteger: true }) as object;
  const { traceId, spanId, parentId } = span;
  return {
    ...message,
    traceId: hex(traceId),
    spanId: hex(spanId),
    ...(parentId === undefined ? {} : { parentSpanId: hex(parentId) }),
  };
}

function hex(id: Uint8Array): string {
  return Buffer.from(id).toString("hex");
}

function scopeOf({ version }: Origin): MessageInitShape<typeof InstrumentationScopeSchema> {
  return { name: "davit", version };
}

function messageOf(span: Span): SpanMessage {
  const { error, parentId } = span;
  return create(SpanSchema, {
    traceId: span.traceId,
    spanId: span.spanId,
    traceState: span.traceState,
    ...(parentId === undefined ? {} : { parentSpanId: parentId }),
    name: printable(span.name, maxText),
    kind: span.kind === "server" ? Span_SpanKind.SERVER : Span_SpanKind.INTERNAL,
    startTimeUnixNano: nanoseconds(span.startMs),
    endTimeUnixNano: nanoseconds(span.endMs),
    attributes: list(span.attributes),
    flags: span.isParentRemote ? flagsRemote : flagsLocal,
    ...(error === undefined
      ? {}
      : {
          status: { code: Status_StatusCode.ERROR, message: printable(error, maxError) },
        }),
  });
}

/** A double has a quarter of a microsecond at best today. */
function nanoseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1000)) * 1000n;
}

function list(
  attributes: Readonly<Record<string, AttributeValue>>,
): MessageInitShape<typeof KeyValueSchema>[] {
  return Object.entries(attributes).map(([key, value]) => {
    if (typeof value === "string") {
      return { key, value: { value: { case: "stringValue", value: printable(value, maxText) } } };
    }
    if (typeof value === "boolean") return { key, value: { value: { case: "boolValue", value } } };
    return Number.isSafeInteger(value)
      ? { key, value: { value: { case: "intValue", value: BigInt(value) } } }
      : { key, value: { value: { case: "doubleValue", value } } };
  });
}

/** Text of clients, images and containers, cut, and with control characters escaped as in the log. */
function printable(text: string, length: number): string {
  return text
    .slice(0, length)
    .toWellFormed()
    .replace(
      /[\u0000-\u001f\u007f-\u009f]/g,
      (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}
