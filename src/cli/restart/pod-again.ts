// Stopped pods that run again. The CRI cannot start a stopped sandbox, so a new one is made from the recorded config with
// the next attempt number, as kubelet does, and the former pod is removed when the new one runs.
import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { hostsFileName, withAddresses } from "../../client/pods/hosts-file.ts";
import type { ContainerConfig, PodSandbox, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import { PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode, exitCodeOf } from "../command-line/exit-code.ts";
import { removeAfterAnnotation } from "../../client/pods/annotations.ts";
import { formatHostPort } from "../../client/pods/host-port.ts";
import { readPorts } from "../../client/pods/host-ports.ts";
import { notMountedMark } from "../../client/pods/volumes.ts";
import { hostPortsInUse } from "../lifecycle/host-ports.ts";
import { removePod } from "../lifecycle/stop.ts";
import { podPath } from "../objects/find.ts";
import type { Objects } from "../objects/objects.ts";
import type { Found } from "../objects/pick.ts";
import {
  containerConfigOf,
  isPodOfKubelet,
  podConfigOf,
  recordedContainer,
  recordedPod,
} from "../objects/recorded-config.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { type Again, nextAttempt, restartable } from "./again.ts";

// The times for the calls that run plugins and programs.
const podMs = 240_000;
const containerMs = 120_000;
const removeMs = 60_000;
/** The most of a hosts file, which its containers can write. */
const maxHostsBytes = 1024 * 1024;

/** Whether a command for a pod is about its sandbox, which was stopped, and not only about its containers. */
export function isStoppedPod(found: Found): found is Found & { readonly kind: "pod" } {
  return found.kind === "pod" && found.pod.state !== PodSandboxState.SANDBOX_READY;
}

/**
 * Checks that a stopped pod can run again, and reads what is needed for it. `verb` is "start" or "restart". Throws
 * a CommandFailure for pods of kubelet, pods without containers, pods that are removed at their end, host ports that are in
 * use, and volumes in memory that the node has lost.
 */
export async function preparePodAgain(
  server: Server,
  verb: string,
  pod: PodSandbox,
  objects: Objects,
): Promise<Again> {
  const what = `${verb} pod "${podPath(pod)}"`;
  if (isPodOfKubelet(pod)) {
    throw new CommandFailure(
      exitCode.failed,
      `${what}: kubelet created it, and runs it again itself`,
    );
  }
  if (pod.annotations[removeAfterAnnotation] !== undefined) {
    const why = 'it is being removed, by the --rm of davit run; use "davit run" again';
    throw new CommandFailure(exitCode.failed, `${what}: ${why}`);
  }
  const { info } = await recordedPod(server, pod);
  const former = podConfigOf(what, info);
  await checkPorts(server, objects, what, readPorts(info));
  const targets = await restartable({ kind: "pod", pod }, objects, server);
  const configs = await Promise.all(
    targets.map(async (each) => {
      const recorded = await recordedContainer(server, each);
      const config = containerConfigOf(what, recorded.info);
      const last = each.container.metadata?.attempt ?? 0;
      return nextAttempt(config, { last, resources: recorded.status.resources?.linux });
    }),
  );
  checkVolumes(what, configs);
  const { metadata } = former;
  const config: PodSandboxConfig =
    metadata === undefined
      ? former
      : { ...former, metadata: { ...metadata, attempt: metadata.attempt + 1 } };
  return { start: () => startPod(server, what, { pod, config, configs }) };
}

/** After a reboot, the directory of a volume in memory is on the disk, without its size and mode. */
function checkVolumes(what: string, configs: readonly ContainerConfig[]): void {
  const lost = configs
    .flatMap(({ mounts }) => mounts)
    .find(({ hostPath }) => existsSync(join(hostPath, notMountedMark)));
  if (lost === undefined) return;
  const why = `its volume in memory at "${lost.containerPath}" is gone since the node was started again`;
  throw new CommandFailure(
    exitCode.failed,
    `${what}: ${why}; remove the pod with "davit rm", and use "davit run" again`,
  );
}

/** A pod to run again. */
interface PodAgain {
  /** The former one. */
  readonly pod: PodSandbox;
  readonly config: PodSandboxConfig;
  readonly configs: readonly ContainerConfig[];
}

async function startPod(server: Server, what: string, again: PodAgain): Promise<void> {
  const { pod, config, configs } = again;
  const { runtime } = server.client;
  const { runtimeHandler } = pod;
  const run = runtime.runPodSandbox({ config, runtimeHandler }, server.limit(podMs));
  const { podSandboxId } = await doing(what, run);
  try {
    await renewHostsFile(server, podSandboxId, again).catch((error: unknown) => {
      throw wrap(`${what}: renew its hosts file`, error);
    });
    for (const each of configs) {
      const request = { podSandboxId, config: each, sandboxConfig: config };
      const created = runtime.createContainer(request, server.limit(containerMs));
      const { containerId } = await doing(what, created);
      await doing(what, runtime.startContainer({ containerId }, server.limit(containerMs)));
    }
  } catch (error) {
    const removal = runtime.removePodSandbox({ podSandboxId }, { timeoutMs: removeMs });
    const left = await removal.then(
      () => "the pod stays stopped",
      (failure: unknown) => `pod "${podSandboxId}" is left: ${messageOf(failure)}`,
    );
    const message = `${messageOf(error)}; ${left}`;
    throw new CommandFailure(exitCodeOf(error), message, { cause: error });
  }
  await removePod(server, pod);
}

/** The hosts file of davit run has the address that the pod had. */
async function renewHostsFile(
  { client, limit }: Server,
  podSandboxId: string,
  { config, configs }: PodAgain,
): Promise<void> {
  const path = join(dirname(config.logDirectory), hostsFileName);
  const mounts = configs.flatMap((each) => each.mounts);
  if (!mounts.some(({ hostPath }) => hostPath === path)) return;
  const { status } = await client.runtime.podSandboxStatus({ podSandboxId }, limit());
  const { ip = "", additionalIps = [] } = status?.network ?? {};
  // A pod in the network of the node has no line of its own.
  if (ip === "") return;
  const ips = [ip, ...additionalIps.map((each) => each.ip)];
  const { size } = await stat(path);
  if (size > maxHostsBytes) {
    throw new RuntimeError(
      "failed-precondition",
      `"${path}" has ${size} bytes, the most are ${maxHostsBytes}; a container has written it: remove the pod`,
    );
  }
  await writeFile(path, withAddresses(await readFile(path, "utf8"), config.hostname, ips));
}

async function checkPorts(
  server: Server,
  objects: Objects,
  what: string,
  ports: ReturnType<typeof readPorts>,
): Promise<void> {
  const inUse = await hostPortsInUse(server, objects, ports);
  if (inUse.size === 0) return;
  const list = [...inUse].map(([port, holder]) => `${formatHostPort(port)} is ${holder}`);
  throw new CommandFailure(
    exitCode.failed,
    `${what}: host port ${list.join(", ")}; stop the pod or process that uses it`,
  );
}
