// The CRI's metrics: names, labels and values, as pure functions of the figures in core/stats. Start reading with
// list.ts.
export {
  type ContainerMetrics,
  listPodSandboxMetrics,
  metricDescriptors,
  type PodMetrics,
} from "./list.ts";
export { type AddSample, type MetricDescriptor, objectLabelKeys, type Sample } from "./metric.ts";
