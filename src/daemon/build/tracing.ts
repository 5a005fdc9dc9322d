import { hostname } from "node:os";
import type { Logger } from "../../base/logger.ts";
import type { TracingConfig } from "../../config/config.ts";
import type { OperationObserver } from "../../core/operation/index.ts";
import {
  type CallNotes,
  jsonEncoder,
  OtlpClient,
  preciseClock,
  protobufEncoder,
  readEndpoint,
  SpanExporter,
  Tracer,
} from "../../telemetry/tracing/index.ts";
import type { Method } from "../../wire/grpc/call.ts";

/** Tracing that is on. Its disposal sends the last spans, for a second at most. */
export interface Tracing extends AsyncDisposable {
  /** The methods of a server, with a span for each call that is recorded. */
  wrap(methods: ReadonlyMap<string, Method>): ReadonlyMap<string, Method>;
  readonly observer: OperationObserver;
}

/** Builds the tracing of a daemon. Only a daemon with `tracing.endpoint` loads this file. */
export function buildTracing(
  config: TracingConfig,
  deps: {
    readonly version: string;
    readonly log: Logger;
    readonly callLog: CallNotes;
  },
): Tracing {
  const { version, log, callLog } = deps;
  const endpoint = readEndpoint(config.endpoint, config.headers);
  const resource = {
    "service.name": config.serviceName,
    "service.version": version,
    "host.name": hostname(),
    "process.pid": process.pid,
  };
  const encoderOf = config.protocol === "http/json" ? jsonEncoder : protobufEncoder;
  const encoder = encoderOf({ resource, version });
  const client = new OtlpClient(endpoint, encoder);
  const exporter = new SpanExporter({ encoder, client, log, endpoint: endpoint.shown });
  const { samplingRatio } = config;
  const tracer = new Tracer({ sink: exporter, samplingRatio, callLog, nowMs: preciseClock() });
  log.info("tracing", { endpoint: endpoint.shown, samplingRatio });
  return {
    wrap: (methods) => tracer.wrap(methods),
    observer: tracer.observer,
    [Symbol.asyncDispose]: () => exporter[Symbol.asyncDispose](),
  };
}
