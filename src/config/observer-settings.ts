// The settings of [tracing] and [metrics]: what observers of the daemon get.
import type { MetricsConfig, TracingConfig } from "./config.ts";
import { choice, headers, httpUrl, listenAddress, ratio, type Section, text } from "./setting.ts";

/** `[tracing]`. */
export const tracing: Section<TracingConfig> = {
  endpoint: httpUrl({
    default: "",
    doc: 'The URL of a collector that accepts OTLP over HTTP, such as "http://127.0.0.1:4318". /v1/traces is appended unless it has a path. https trusts the certificates of the system. Empty turns tracing off.',
  }),
  protocol: choice({
    of: ["http/protobuf", "http/json"],
    default: "http/protobuf",
    doc: "How spans are encoded. Collectors accept both; protobuf is smaller.",
  }),
  headers: headers({
    default: {},
    doc: 'HTTP headers that are sent to the collector, for example { Authorization = "Bearer ..." }. They are never logged. Restrict who can read this file.',
  }),
  samplingRatio: ratio({
    default: 0.01,
    doc: "The share of calls that are traced, from 0 to 1, among those of clients that send no traceparent. A client that sends one, such as kubelet with tracing, decides itself.",
  }),
  serviceName: text({
    default: "davit",
    pattern: /^[\x20-\x7e]{1,255}$/,
    allowed: "1 to 255 printable ASCII characters",
    doc: "The name of this service in traces (service.name).",
  }),
};

/** `[metrics]`. */
export const metrics: Section<MetricsConfig> = {
  listen: listenAddress({
    default: "",
    doc: 'Where Prometheus reads metrics, at /metrics: "127.0.0.1:9090", or the path of a unix socket. Whoever can connect can read them. Empty turns metrics off. See docs/metrics.md.',
  }),
};
