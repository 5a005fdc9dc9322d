import type { Draft } from "../draft.ts";
import type { Settings } from "../settings.ts";
import { integerOf } from "../values.ts";

/** Metrics and traces, each of which is several keys in CRI-O and is off by default. */
export function importObservers(settings: Settings, draft: Draft): void {
  const metrics = settings.get("crio", "metrics", "enable_metrics");
  if (metrics?.value === true) {
    const comment = "the metrics of davit have other names: docs/metrics.md";
    draft.set(["metrics", "listen"], listenOf(settings), metrics.origin, comment);
  }
  const tracing = settings.get("crio", "tracing", "enable_tracing");
  if (tracing?.value !== true) return;
  const [host = "127.0.0.1"] = (
    settings.text("crio", "tracing", "tracing_endpoint") || "127.0.0.1"
  ).split(/:\d+$/);
  const comment = "davit sends OTLP over HTTP, whose port is usually 4318; CRI-O uses gRPC";
  draft.set(["tracing", "endpoint"], `http://${host}:4318`, tracing.origin, comment);
  const rate = settings.get("crio", "tracing", "tracing_sampling_rate_per_million");
  const share = typeof rate?.value === "bigint" ? Number(rate.value) / 1e6 : 0;
  draft.set(["tracing", "sampling_ratio"], share, rate?.origin ?? tracing.origin);
}

function listenOf(settings: Settings): string {
  const socket = settings.text("crio", "metrics", "metrics_socket");
  if (socket !== "") return socket;
  const host = settings.text("crio", "metrics", "metrics_host") || "127.0.0.1";
  const port = integerOf(settings.get("crio", "metrics", "metrics_port")?.value) ?? 9090n;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
