import type { CriContext } from "../context.ts";
import type { PreparedPod } from "../convert/metrics.ts";

/** ListPodSandboxMetrics: the metrics of all ready sandboxes and of their running containers. */
export async function listPodSandboxMetrics(context: CriContext): Promise<Uint8Array> {
  const { encodedPods } = await import("../convert/metrics.ts");
  return encodedPods(await preparedPods(context));
}

/** The pods of both the list and the stream. */
export async function preparedPods(context: CriContext): Promise<readonly PreparedPod[]> {
  // Most clients never ask for metrics: their code is loaded when one does.
  const { listPodSandboxMetrics: list } = await import("../../engine/stats/metrics/index.ts");
  const { preparedPod } = await import("../convert/metrics.ts");
  return (await list(context)).map(preparedPod);
}
