import type { Container, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";
import { removePod, type StopOptions, stopPod } from "./stop.ts";

/** Stops a pod, its containers first and in their time of grace, and removes it. */
export async function takeDown(
  server: Server,
  pod: PodSandbox,
  containers: readonly Container[],
  options: StopOptions,
): Promise<void> {
  await stopPod(server, pod, containers, options);
  await removePod(server, pod);
}
