// Runs the pods of manifests on any CRI server, for the command line and for the SDK.
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { Rollback } from "../../base/rollback.ts";
import { type ContainerStatus, ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import {
  containerConfig,
  type ContainerManifest,
  type PodManifest,
  runAsNonRootViolation,
  type RuntimeState,
} from "../../manifest/index.ts";
import type { PodRunContext, ProgressReport, RunningPod } from "./context.ts";
import { writeHostsFile } from "./hosts-file.ts";
import { SandboxRun } from "./sandbox-run.ts";
import { hostPathsOf } from "./volumes.ts";

// Timeouts for calls that run plugins and programs.
const containerMs = 120_000;
const undoMs = 120_000;
const pollMs = 100;

/** A pod whose containers are being started. */
interface MakingPod extends RunningPod {
  readonly containers: Map<string, string>;
  readonly hostsFile: string | undefined;
}

/**
 * Runs a pod: creates its volumes and its sandbox, runs its init containers one after another until each has
 * exited, then starts its containers. The cleanup is registered in `undo`.
 */
export async function runPod(
  context: PodRunContext,
  pod: PodManifest,
  undo: Rollback,
  report: ProgressReport,
): Promise<RunningPod> {
  const name = `${pod.namespace}/${pod.name}`;
  report.step("creating volumes");
  await context.makeVolumes(pod, undo);
  for (const volume of pod.volumes) {
    if (volume.kind === "image")
      await pullImageOnce(context, volume.reference, "IfNotPresent", report);
  }
  report.step("creating sandbox");
  const sandbox = new SandboxRun(context.server, pod, report);
  undo.defer(`remove pod "${name}"`, () => sandbox.undo());
  const id = await sandbox.run(context.signal);
  const { client, limit } = context.server;
  const status = await client.runtime.podSandboxStatus({ podSandboxId: id }, limit());
  const network = status.status?.network;
  const ips = [network?.ip ?? "", ...(network?.additionalIps ?? []).map(({ ip }) => ip)].filter(
    (ip) => ip !== "",
  );
  const hostsFile = await writeHostsFile(pod, ips);
  const running: MakingPod = { manifest: pod, id, ips, hostsFile, containers: new Map() };
  for (const container of pod.initContainers) {
    const started = await startContainer(context, running, container, report);
    report.step(`waiting for init container ${container.name}`);
    await waitUntilExited(context, running, container, started);
  }
  for (const container of pod.containers) {
    running.containers.set(
      container.name,
      await startContainer(context, running, container, report),
    );
  }
  return running;
}

/** Waits until each container is running and still runs a moment later, or has exited with 0. */
export async function waitUntilRunning(
  context: PodRunContext,
  pod: RunningPod,
  report: ProgressReport,
): Promise<void> {
  report.step("waiting until containers run");
  // Checked twice: a program that fails immediately may be running at the first check.
  for (let round = 0; round < 2; round++) {
    if (round > 0) await sleep(settleMs, undefined, { signal: context.signal });
    for (const container of pod.manifest.containers) {
      const id = pod.containers.get(container.name) ?? "";
      const status = await statusOf(context, id);
      if (status?.state === ContainerState.CONTAINER_RUNNING) continue;
      if (status?.state === ContainerState.CONTAINER_EXITED && status.exitCode === 0) continue;
      throw await containerFailure(context, pod, container, status);
    }
  }
}

const settleMs = 1_000;
// Most programs that cannot work fail within this time.
const earlyFailureMs = 400;

/** Waits a moment. Returns a message for each container that has failed meanwhile. */
export async function earlyFailures(
  context: PodRunContext,
  pod: RunningPod,
  report: ProgressReport,
): Promise<readonly string[]> {
  report.step("checking containers");
  await sleep(earlyFailureMs, undefined, { signal: context.signal });
  const ends = pod.manifest.containers.map(async (container): Promise<readonly string[]> => {
    const status = await statusOf(context, pod.containers.get(container.name) ?? "");
    if (status?.state !== ContainerState.CONTAINER_EXITED || status.exitCode === 0) return [];
    return [(await containerFailure(context, pod, container, status)).message];
  });
  return (await Promise.all(ends)).flat();
}

async function startContainer(
  context: PodRunContext,
  pod: MakingPod,
  container: ContainerManifest,
  report: ProgressReport,
): Promise<string> {
  const { manifest } = pod;
  const where = `"${manifest.namespace}/${manifest.name}/${container.name}"`;
  const { client, limit, doing } = context.server;
  const imageId = await pullImageOnce(context, container.image, container.imagePullPolicy, report);
  const imageUser = await imageUserOf(context, imageId);
  const violation = runAsNonRootViolation(container, manifest, imageUser);
  if (violation !== undefined) {
    throw new RuntimeError("failed-precondition", `start container ${where}: ${violation}`);
  }
  report.step(`starting ${container.name}`);
  const facts: RuntimeState = {
    imageId,
    imageUser,
    podIps: pod.ips,
    hostPaths: await hostPathsOf(container.volumeMounts, manifest),
    hostsFile: pod.hostsFile,
    node: context.node,
  };
  const options = { ...limit(containerMs), signal: context.signal };
  const created = client.runtime.createContainer(
    {
      podSandboxId: pod.id,
      config: containerConfig(container, manifest, facts),
      sandboxConfig: manifest.sandbox,
    },
    options,
  );
  const { containerId } = await doing(`create container ${where}`, created);
  const started = client.runtime.startContainer({ containerId }, options);
  await doing(`start container ${where}`, started);
  return containerId;
}

/** Pulls an image by its pull policy, once for all containers. Resolves with its id. */
function pullImageOnce(
  context: PodRunContext,
  image: string,
  policy: ContainerManifest["imagePullPolicy"],
  report: ProgressReport,
): Promise<string> {
  report.step(`pulling ${image}`, image);
  const key = `${policy} ${image}`;
  const known = context.pulls.get(key);
  if (known !== undefined) return known;
  const pulling = pullByPolicy(context, image, policy);
  context.pulls.set(key, pulling);
  return pulling;
}

async function pullByPolicy(
  { server, signal }: PodRunContext,
  image: string,
  policy: ContainerManifest["imagePullPolicy"],
): Promise<string> {
  const { client, limit, unlimited, doing } = server;
  if (policy !== "Always") {
    const status = client.image.imageStatus({ image: { image } }, { ...limit(), signal });
    const present = (await doing(`get the status of image "${image}"`, status)).image;
    if (present !== undefined) return present.id;
    if (policy === "Never") {
      throw new RuntimeError(
        "failed-precondition",
        `find image "${image}": not present, and imagePullPolicy is Never; pull it with "davit pull ${image}"`,
      );
    }
  }
  const pull = client.image.pullImage({ image: { image } }, { ...unlimited(), signal });
  return (await doing(`pull image "${image}"`, pull)).imageRef;
}

async function imageUserOf(
  { server, signal }: PodRunContext,
  imageId: string,
): Promise<RuntimeState["imageUser"]> {
  const request = { image: { image: imageId } };
  const { image } = await server.client.image.imageStatus(request, { ...server.limit(), signal });
  const uid = image?.uid?.value;
  return { username: image?.username ?? "", ...(uid === undefined ? {} : { uid }) };
}

async function statusOf(
  { server, signal }: PodRunContext,
  containerId: string,
): Promise<ContainerStatus | undefined> {
  const call = server.client.runtime.containerStatus(
    { containerId },
    { ...server.limit(), signal },
  );
  return (await server.doing(`get the status of container "${containerId}"`, call)).status;
}

async function waitUntilExited(
  context: PodRunContext,
  pod: RunningPod,
  container: ContainerManifest,
  id: string,
): Promise<void> {
  for (;;) {
    const status = await statusOf(context, id);
    if (status === undefined || status.state === ContainerState.CONTAINER_EXITED) {
      if (status?.exitCode === 0) return;
      throw await containerFailure(context, pod, container, status);
    }
    await sleep(pollMs, undefined, { signal: context.signal });
  }
}

/** The error for a container that has failed, with the end of its log. */
async function containerFailure(
  context: PodRunContext,
  pod: RunningPod,
  container: ContainerManifest,
  status: ContainerStatus | undefined,
): Promise<RuntimeError> {
  const { namespace, name } = pod.manifest;
  const what = `container "${namespace}/${name}/${container.name}"`;
  const log = status === undefined ? [] : await context.lastLines(status);
  return new RuntimeError("failed-precondition", `${what} ${describeEnd(status, log)}`);
}

/** How a container ended, with the end of its log: "exited with code 3 (Error); ...". */
export function describeEnd(status: ContainerStatus | undefined, log: readonly string[]): string {
  const why = [status?.reason ?? "", status?.message ?? ""].filter((text) => text !== "");
  const how = status === undefined ? "was removed" : `exited with code ${status.exitCode}`;
  const reason = why.length === 0 ? "" : ` (${why.join(": ")})`;
  const lines = log.map((line) => `  ${line.trimEnd()}`);
  const end =
    log.length === 0 ? "; its log is empty" : `; the end of its log:\n${lines.join("\n")}`;
  return `${how}${reason}${end}`;
}

/** A Rollback for a pod that reports its failures. */
export function podRollback(report: ProgressReport): Rollback {
  return new Rollback({
    totalMs: undoMs,
    tries: 2,
    onStuck: (what, error) => report.warn(`${what}: ${messageOf(error)}`),
  });
}
