import type { Container, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";
import { removePod, stopPod } from "./stop.ts";

/** Stops a pod, its containers first and in their time of grace, and removes it. */
export async function takeDown(
  server: Server,
  pod: PodSandbox,
  containers: readonly Container[],
  graceSeconds: number | undefined,
): Promise<void> {
  await stopPod(server, pod, containers, graceSeconds);
  await removePod(server, pod);
}
