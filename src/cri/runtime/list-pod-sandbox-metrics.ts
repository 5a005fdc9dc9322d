import type { CriContext } from "../context.ts";
import { joinFields, messageField } from "../convert/fields.ts";

/** ListPodSandboxMetrics: the metrics of all ready sandboxes and of their running containers. */
export async function listPodSandboxMetrics(context: CriContext): Promise<Uint8Array> {
  const items: Uint8Array[] = [];
  for await (const item of podMetricsItems(context)) items.push(item);
  return joinFields(items);
}

/** The same as elements of field 1, for both the list and the stream. Each is encoded when it is taken. */
export async function* podMetricsItems(context: CriContext): AsyncIterable<Uint8Array> {
  // Most clients never ask for metrics: their code is loaded when one does.
  const { listPodSandboxMetrics: list } = await import("../../engine/stats/metrics/index.ts");
  const { encodedPodMetrics } = await import("../convert/metrics.ts");
  for (const pod of await list(context)) yield messageField(1, encodedPodMetrics(pod));
}
