// Metrics in Prometheus' text format: a registry of series as pure code, the series of the daemon in series/, and
// the server of /metrics. It may import base, gen, wire and core. Start with registry.ts; daemon/build/metrics.ts
// connects the series with the parts of the daemon.
export { type FamilyInfo, Registry } from "./registry.ts";
export { type MetricsAddress, MetricsServer } from "./metrics-server.ts";
export { CallSeries } from "./series/calls.ts";
export { addGauges } from "./series/gauges.ts";
export { nriSeries } from "./series/nri.ts";
export { addObjectSeries, ExitSeries } from "./series/objects.ts";
export { OperationMetrics } from "./series/operations.ts";
export { pluginSeries } from "./series/plugins.ts";
export { ProcessSeries } from "./series/process.ts";
export { PullSeries } from "./series/pulls.ts";
