/** A collector for tests: it decodes OTLP/HTTP requests with binary protobuf, and answers as the test says. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { fromBinary } from "@bufbuild/protobuf";
import { ExportTraceServiceRequestSchema } from "../../src/gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.ts";
import type { Span } from "../../src/gen/opentelemetry/proto/trace/v1/trace_pb.ts";

/** A span as tests compare it: ids are hexadecimal, attributes are plain values. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first span of a trace. */
  readonly parentId: string;
  readonly name: string;
  readonly kind: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly traceState: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly error: string | undefined;
}

/** Answers a request; `response.end()` accepts its spans. */
export type Answer = (response: ServerResponse) => void;

export const accept: Answer = (response) => {
  response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
};

/** What follows these stages is a span only if it took some milliseconds. */
const pauses: ReadonlySet<string> = new Set([
  "network plugin done",
  "network added",
  "network removed",
  "answer",
]);

export class TestCollector implements AsyncDisposable {
  /** The spans of all requests, also of those that were not accepted. */
  readonly spans: ReceivedSpan[] = [];
  /** The headers of all requests. */
  readonly requests: IncomingMessage["headers"][] = [];
  /** The attributes of the process, of the last request. */
  resource: Readonly<Record<string, unknown>> = {};
  answer: Answer = accept;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#receive(request, response).catch((error: unknown) => {
        response.writeHead(400).end(String(error));
      });
    });
  }

  static async start(): Promise<TestCollector> {
    const collector = new TestCollector();
    collector.#server.listen(0, "127.0.0.1");
    await once(collector.#server, "listening");
    return collector;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The first span of a call, if it has come: by its method. */
  callOf(method: string, traceId?: string): ReceivedSpan | undefined {
    return this.spans.find(
      (span) =>
        span.attributes["rpc.method"] === method &&
        (traceId === undefined || span.traceId === traceId),
    );
  }

  /** The names of the spans below a span, each with those below it; without pauses, which are spans if they are slow. */
  below(span: ReceivedSpan): readonly (string | readonly [string, readonly unknown[]])[] {
    return this.spans
      .filter(({ parentId, name }) => parentId === span.spanId && !pauses.has(name))
      .map((child) => {
        const inner = this.below(child);
        return inner.length === 0 ? child.name : [child.name, inner];
      });
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push(request.headers);
    const body = await buffer(request);
    if (request.method !== "POST" || request.url !== "/v1/traces") {
      response.writeHead(404).end();
      return;
    }
    const { resourceSpans } = fromBinary(ExportTraceServiceRequestSchema, body);
    for (const { resource, scopeSpans } of resourceSpans) {
      this.resource = plain(resource?.attributes ?? []);
      for (const { spans } of scopeSpans) this.spans.push(...spans.map(received));
    }
    this.answer(response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function received(span: Span): ReceivedSpan {
  const hex = (id: Uint8Array): string => Buffer.from(id).toString("hex");
  return {
    traceId: hex(span.traceId),
    spanId: hex(span.spanId),
    parentId: hex(span.parentSpanId),
    name: span.name,
    kind: span.kind,
    startNs: span.startTimeUnixNano,
    endNs: span.endTimeUnixNano,
    traceState: span.traceState,
    attributes: plain(span.attributes),
    error: span.status?.message,
  };
}

function plain(attributes: Span["attributes"]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value?.value.value]));
}
