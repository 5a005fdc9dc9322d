import type { CriContext } from "../context.ts";
import type { PreparedPod } from "../convert/metrics.ts";
import { preparedPods } from "./list-pod-sandbox-metrics.ts";

/** A message ends with the pod that reaches this size, far below every limit. */
const batchBytes = 1 << 20;

/** ListPodSandboxMetrics in messages of bounded size, each sandbox once (KEP-5825). */
export async function* streamPodSandboxMetrics(context: CriContext): AsyncIterable<Uint8Array> {
  const { encodedPods } = await import("../convert/metrics.ts");
  let batch: PreparedPod[] = [];
  let bytes = 0;
  for (const pod of await preparedPods(context)) {
    batch.push(pod);
    bytes += pod.bytes;
    if (bytes < batchBytes) continue;
    yield encodedPods(batch);
    [batch, bytes] = [[], 0];
  }
  if (batch.length > 0) yield encodedPods(batch);
}
