import { type Container, ContainerState, type PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import { doing } from "../server/explain.ts";
import { graceAnnotation } from "../../manifest/request.ts";
import type { Server } from "../server/session.ts";
import type { GraceLines } from "./grace.ts";

// What docker and crictl's users know; used where nobody said how long.
const defaultGraceSeconds = 10;

// What the server may need beyond the time that the container gets.
const answerMs = 60_000;

/** How long a container may take to end: what was asked for, else what its manifest says. */
export function graceSeconds(
  annotations: Readonly<Record<string, string>>,
  asked: number | undefined,
): number {
  if (asked !== undefined) return asked;
  const text = annotations[graceAnnotation] ?? "";
  return /^\d{1,9}$/.test(text) ? Number(text) : defaultGraceSeconds;
}

/** How patient a stop is, and who shows it. */
export interface StopOptions {
  /** The time of grace that was asked for, instead of that of the manifest. */
  readonly seconds: number | undefined;
  readonly grace: GraceLines;
}

/** Stops a container: its stop signal, then after the time of grace SIGKILL. */
export async function stopContainer(
  server: Server,
  found: PodContainer,
  options: StopOptions,
): Promise<void> {
  const { container } = found;
  const seconds = graceSeconds(container.annotations, options.seconds);
  const request = { containerId: container.id, timeout: BigInt(seconds) };
  const stop = doing(
    `stop container "${containerPath(found)}"`,
    server.client.runtime.stopContainer(request, server.limit(seconds * 1000 + answerMs)),
  );
  const running = container.state === ContainerState.CONTAINER_RUNNING;
  await options.grace.during(containerPath(found), running ? seconds : 0, stop);
}

/**
 * Stops a pod as kubelet does: first its containers, each with its time of grace, then what they
 * share. A StopPodSandbox alone would kill them.
 */
export async function stopPod(
  server: Server,
  pod: PodSandbox,
  containers: readonly Container[],
  options: StopOptions,
): Promise<void> {
  const running = containers.filter(
    ({ podSandboxId, state }) =>
      podSandboxId === pod.id && state !== ContainerState.CONTAINER_EXITED,
  );
  await Promise.all(running.map((container) => stopContainer(server, { container, pod }, options)));
  await doing(
    `stop pod "${podPath(pod)}"`,
    server.client.runtime.stopPodSandbox({ podSandboxId: pod.id }, server.limit(answerMs)),
  );
}

/** Removes a pod with its containers; those that run are killed. */
export async function removePod(server: Server, pod: PodSandbox): Promise<void> {
  await doing(
    `remove pod "${podPath(pod)}"`,
    server.client.runtime.removePodSandbox({ podSandboxId: pod.id }, server.limit(answerMs)),
  );
}

/** Removes a container; one that runs is killed. */
export async function removeContainer(server: Server, found: PodContainer): Promise<void> {
  const request = { containerId: found.container.id };
  await doing(
    `remove container "${containerPath(found)}"`,
    server.client.runtime.removeContainer(request, server.limit(answerMs)),
  );
}
