// Containers that run again. A container of the CRI runs once (api.proto, StartContainer), so a new one is created from
// the recorded config of the former one, with the next attempt number, as kubelet does after an exit.
import { removeAfterAnnotation } from "../../client/pods/annotations.ts";
import {
  type ContainerConfig,
  ContainerState,
  PodSandboxState,
} from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { removeContainer } from "../lifecycle/stop.ts";
import { withoutCompletedInit } from "../objects/counts.ts";
import { exitStatusesOf } from "../objects/statuses.ts";
import { containerPath, type PodContainer, podPath } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import type { Found } from "../objects/pick.ts";
import {
  containerConfigOf,
  isOfKubelet,
  podConfigOf,
  recordedContainer,
  recordedPod,
} from "../objects/recorded-config.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

// The time for the calls that run plugins and programs.
const containerMs = 120_000;

/**
 * The containers that a command for a pod or a container starts again, oldest first: the last attempt of each, without
 * completed init containers.
 */
export async function restartable(
  found: Found,
  objects: Objects,
  server: Server,
): Promise<readonly PodContainer[]> {
  if (found.kind === "container") return [found];
  if (found.kind === "image") return [];
  const own = (await objects.containers()).filter(
    ({ container }) => container.podSandboxId === found.pod.id,
  );
  if (own.length > 0) {
    return withoutCompletedInit(own, await exitStatusesOf(own, server)).toReversed();
  }
  throw new CommandFailure(
    exitCode.failed,
    `start containers of pod "${podPath(found.pod)}": it has none`,
  );
}

/** A container that can run again. */
export interface Again {
  /** Creates the next attempt and starts it. The former container must have ended, or not have been started. */
  start(): Promise<void>;
}

/**
 * Checks that a container can run again, and reads what is needed for it, so that nothing is stopped in vain. `verb` is
 * "start" or "restart". Throws a CommandFailure for containers of kubelet, and of pods that
 * are stopped or removed at their end.
 */
export async function prepareAgain(
  server: Server,
  verb: string,
  found: PodContainer,
  objects: Objects,
): Promise<Again> {
  const { container, pod } = found;
  const what = `${verb} container "${containerPath(found)}"`;
  if (isOfKubelet(found)) {
    throw new CommandFailure(
      exitCode.failed,
      `${what}: kubelet created it and starts it again after its end; use "davit stop"`,
    );
  }
  if (pod === undefined || pod.state !== PodSandboxState.SANDBOX_READY) {
    throw new CommandFailure(
      exitCode.failed,
      `${what}: its pod is stopped and has no network any more; use "davit start ${podPath(pod)}" for the whole pod`,
    );
  }
  if (pod.annotations[removeAfterAnnotation] !== undefined) {
    throw new CommandFailure(
      exitCode.failed,
      `${what}: its pod is removed when it ends, by the --rm of davit run; use "davit run" again`,
    );
  }
  if (container.state === ContainerState.CONTAINER_CREATED) {
    return { start: () => startCreated(server, what, container.id) };
  }
  const [{ status, info }, ofPod] = await Promise.all([
    recordedContainer(server, found),
    recordedPod(server, pod),
  ]);
  const recorded = containerConfigOf(what, info);
  const sandboxConfig = podConfigOf(what, ofPod.info);
  const resources = status.resources?.linux;
  const attempts = attemptsOf(found, await objects.containers());
  const last = Math.max(...attempts.map((each) => each.container.metadata?.attempt ?? 0));
  const config = nextAttempt(recorded, { last, resources });
  const start = async (): Promise<void> => {
    const request = { podSandboxId: pod.id, config, sandboxConfig };
    const created = server.client.runtime.createContainer(request, server.limit(containerMs));
    const { containerId } = await doing(what, created);
    await startCreated(server, what, containerId);
    for (const each of attempts) {
      if (each.container.id !== container.id) await removeContainer(server, each);
    }
  };
  return { start };
}

async function startCreated(server: Server, what: string, containerId: string): Promise<void> {
  await doing(
    what,
    server.client.runtime.startContainer({ containerId }, server.limit(containerMs)),
  );
}

/** All attempts of a container in its pod, and so their last one. */
function attemptsOf(
  { container }: PodContainer,
  all: readonly PodContainer[],
): readonly PodContainer[] {
  return all.filter(
    (each) =>
      each.container.podSandboxId === container.podSandboxId &&
      each.container.metadata?.name === container.metadata?.name,
  );
}

/**
 * The config of the attempt after the last one: with the resources that davit update has left, and with a log of its
 * own if the log is named as kubelet names it, by the attempt.
 */
export function nextAttempt(
  config: ContainerConfig,
  {
    last,
    resources,
  }: {
    readonly last: number;
    readonly resources: NonNullable<ContainerConfig["linux"]>["resources"];
  },
): ContainerConfig {
  const { metadata, linux, logPath } = config;
  const own = metadata?.attempt ?? 0;
  return {
    ...config,
    ...(metadata === undefined ? {} : { metadata: { ...metadata, attempt: last + 1 } }),
    ...(linux === undefined || resources === undefined ? {} : { linux: { ...linux, resources } }),
    logPath: logPath.replace(new RegExp(`(^|/)${own}\\.log$`), `$1${last + 1}.log`),
  };
}
