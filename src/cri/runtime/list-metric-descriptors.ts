import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";

/** ListMetricDescriptors: names, help and label keys of all metrics. kubelet calls it once. */
export async function listMetricDescriptors(_context: CriContext): Promise<Uint8Array> {
  // Most clients never ask for metrics: their code is loaded when one does.
  const { metricDescriptors } = await import("../../engine/stats/metrics/index.ts");
  const { encodedDescriptor } = await import("../convert/metrics.ts");
  return joinFields(metricDescriptors.map((each) => messageField(1, encodedDescriptor(each))));
}
