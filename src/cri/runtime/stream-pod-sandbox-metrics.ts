import type { CriContext } from "../context.ts";
import { joinFields } from "../convert/fields.ts";
import { podMetricsItems } from "./list-pod-sandbox-metrics.ts";

/** A message ends with the pod that reaches this size, far below every limit. */
const batchBytes = 1 << 20;

/** ListPodSandboxMetrics in messages of bounded size, each sandbox once (KEP-5825). */
export async function* streamPodSandboxMetrics(context: CriContext): AsyncIterable<Uint8Array> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  for await (const item of podMetricsItems(context)) {
    batch.push(item);
    bytes += item.length;
    if (bytes < batchBytes) continue;
    yield joinFields(batch);
    [batch, bytes] = [[], 0];
  }
  if (batch.length > 0) yield joinFields(batch);
}
