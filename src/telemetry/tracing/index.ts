// Traces of CRI calls, exported by OTLP over HTTP. Loaded only where tracing is on. Start reading with tracer.ts,
// which makes the spans; exporter.ts sends them.
export { jsonEncoder, type Origin, protobufEncoder, type SpanEncoder } from "./encode.ts";
export { type Endpoint, readEndpoint } from "./endpoint.ts";
export { SpanExporter } from "./exporter.ts";
export { OtlpClient } from "./otlp-client.ts";
export { preciseClock } from "./span.ts";
export { type CallNotes, Tracer } from "./tracer.ts";
