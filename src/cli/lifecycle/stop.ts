import { stopGrace } from "../../client/pods/stop-grace.ts";
import { type Container, ContainerState, type PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import type { GracePeriodLines } from "./grace.ts";

// The time that the server may need in addition to the grace period.
const answerMs = 60_000;

/** The grace period of a stop, and where it is shown. */
interface StopOptions {
  /** The grace period that was requested; undefined means that of the manifest. */
  readonly seconds: number | undefined;
  /** Undefined if it is not shown. */
  readonly grace: GracePeriodLines | undefined;
}

/** Stops a container with its stop signal, and with SIGKILL after the grace period. */
export async function stopContainer(
  server: Server,
  found: PodContainer,
  options: StopOptions,
): Promise<void> {
  const { container } = found;
  const seconds = stopGrace(container.annotations, options.seconds);
  const request = { containerId: container.id, timeout: BigInt(seconds) };
  const stop = doing(
    `stop container "${containerPath(found)}"`,
    server.client.runtime.stopContainer(request, server.limit(seconds * 1000 + answerMs)),
  );
  const running = container.state === ContainerState.CONTAINER_RUNNING;
  await (options.grace?.during(containerPath(found), running ? seconds : 0, stop) ?? stop);
}

/**
 * Stops a pod as kubelet does: first its containers, each with its grace period, then its sandbox.
 * StopPodSandbox alone would kill the containers.
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

/** Removes a pod with its containers. Running containers are killed. */
export async function removePod(server: Server, pod: PodSandbox): Promise<void> {
  await doing(
    `remove pod "${podPath(pod)}"`,
    server.client.runtime.removePodSandbox({ podSandboxId: pod.id }, server.limit(answerMs)),
  );
}

/** Removes a container. A running one is killed. */
export async function removeContainer(server: Server, found: PodContainer): Promise<void> {
  const request = { containerId: found.container.id };
  await doing(
    `remove container "${containerPath(found)}"`,
    server.client.runtime.removeContainer(request, server.limit(answerMs)),
  );
}

/** Stops a pod with the grace periods of its containers, and removes it. */
export async function stopAndRemovePod(
  server: Server,
  pod: PodSandbox,
  containers: readonly Container[],
  options: StopOptions,
): Promise<void> {
  await stopPod(server, pod, containers, options);
  await removePod(server, pod);
}
