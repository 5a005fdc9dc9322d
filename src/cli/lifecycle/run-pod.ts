import { setTimeout as sleep } from "node:timers/promises";
import { Rollback } from "../../base/rollback.ts";
import { messageOf } from "../../base/errors.ts";
import { type ContainerStatus, ContainerState } from "../../gen/runtime/v1/api_pb.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { readLog } from "../logs/read-log.ts";
import type { ContainerManifest } from "../../manifest/container.ts";
import type { PodManifest, PodNode } from "../../manifest/pod.ts";
import { containerConfig, rootRefusal, type RunningFacts } from "../../manifest/request.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import type { RunReport } from "./run-report.ts";
import { SandboxRun } from "./sandbox-run.ts";
import { hostPathsOf, makeVolumes } from "./volumes.ts";

/** What pods that run at once share: each image is pulled once, however many ask for it. */
export interface RunContext {
  readonly server: Server;
  readonly node: PodNode;
  readonly pulls: Map<string, Promise<string>>;
  /** Aborted by Ctrl-C, and when another pod of the same command has failed. */
  readonly signal: AbortSignal;
}

/** A pod that runs. */
export interface RunningPod {
  readonly manifest: PodManifest;
  readonly id: string;
  readonly ips: readonly string[];
  /** Ids of its containers, by name. */
  readonly containers: ReadonlyMap<string, string>;
}

// What a server may take for steps that ask plugins and programs.
const containerMs = 120_000;
const undoMs = 120_000;
const pollMs = 100;
const tailLines = 8;

/**
 * Runs a pod: its volumes, its sandbox, its init containers one after another, each until it has
 * ended, then its containers. `undo` gets what takes all of it back.
 */
export async function runPod(
  context: RunContext,
  pod: PodManifest,
  undo: Rollback,
  report: RunReport,
): Promise<RunningPod> {
  const name = `${pod.namespace}/${pod.name}`;
  report.step("make volumes");
  await makeVolumes(pod, undo);
  for (const volume of pod.volumes) {
    if (volume.kind === "image") await pullOnce(context, volume.reference, "IfNotPresent", report);
  }
  report.step("run pod");
  const sandbox = new SandboxRun(context.server, pod, report);
  undo.defer(`remove pod "${name}"`, () => sandbox.takeBack());
  const id = await sandbox.run(context.signal);
  const { client, limit } = context.server;
  const status = await client.runtime.podSandboxStatus({ podSandboxId: id }, limit());
  const network = status.status?.network;
  const ips = [network?.ip ?? "", ...(network?.additionalIps ?? []).map(({ ip }) => ip)].filter(
    (ip) => ip !== "",
  );
  const running: RunningPod & { readonly containers: Map<string, string> } = {
    manifest: pod,
    id,
    ips,
    containers: new Map(),
  };
  for (const container of pod.initContainers) {
    const started = await startContainer(context, running, container, report);
    report.step(`wait for init container ${container.name}`);
    await untilDone(context, running, container, started);
  }
  for (const container of pod.containers) {
    running.containers.set(
      container.name,
      await startContainer(context, running, container, report),
    );
  }
  return running;
}

/** Waits until each container was seen to run and is still there a moment later, or ended well. */
export async function untilRunning(
  context: RunContext,
  pod: RunningPod,
  report: RunReport,
): Promise<void> {
  report.step("wait until its containers run");
  // Twice: a program that ends at once with an error is seen running only by the first look.
  for (let look = 0; look < 2; look++) {
    if (look > 0) await sleep(settleMs, undefined, { signal: context.signal });
    for (const container of pod.manifest.containers) {
      const id = pod.containers.get(container.name) ?? "";
      const status = await statusOf(context, id);
      if (status?.state === ContainerState.CONTAINER_RUNNING) continue;
      if (status?.state === ContainerState.CONTAINER_EXITED && status.exitCode === 0) continue;
      throw await endedBadly(pod, container, status);
    }
  }
}

const settleMs = 1_000;
// A program that cannot do its work mostly says so within this time.
const firstLookMs = 400;

/** Waits a moment; what to say of each container that has ended with a failure meanwhile. */
export async function earlyEnds(
  context: RunContext,
  pod: RunningPod,
  report: RunReport,
): Promise<readonly string[]> {
  report.step("see whether its containers go on");
  await sleep(firstLookMs, undefined, { signal: context.signal });
  const ends = pod.manifest.containers.map(async (container): Promise<readonly string[]> => {
    const status = await statusOf(context, pod.containers.get(container.name) ?? "");
    if (status?.state !== ContainerState.CONTAINER_EXITED || status.exitCode === 0) return [];
    return [(await endedBadly(pod, container, status)).message];
  });
  return (await Promise.all(ends)).flat();
}

async function startContainer(
  context: RunContext,
  pod: RunningPod,
  container: ContainerManifest,
  report: RunReport,
): Promise<string> {
  const { manifest } = pod;
  const where = `"${manifest.namespace}/${manifest.name}/${container.name}"`;
  const { client, limit } = context.server;
  const imageId = await pullOnce(context, container.image, container.imagePullPolicy, report);
  const imageUser = await imageUserOf(context, imageId);
  const refusal = rootRefusal(container, manifest, imageUser);
  if (refusal !== undefined)
    throw new CommandFailure(exitCode.failed, `start ${where}: ${refusal}`);
  report.step(`start ${container.name}`);
  const facts: RunningFacts = {
    imageId,
    imageUser,
    podIps: pod.ips,
    hostPaths: await hostPathsOf(container.volumeMounts, manifest),
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

/** The id of an image that is there afterwards. */
function pullOnce(
  context: RunContext,
  image: string,
  policy: ContainerManifest["imagePullPolicy"],
  report: RunReport,
): Promise<string> {
  report.step(`pull ${image}`, image);
  const key = `${policy} ${image}`;
  const known = context.pulls.get(key);
  if (known !== undefined) return known;
  const pulling = pullByPolicy(context, image, policy);
  context.pulls.set(key, pulling);
  return pulling;
}

async function pullByPolicy(
  { server, signal }: RunContext,
  image: string,
  policy: ContainerManifest["imagePullPolicy"],
): Promise<string> {
  const { client, limit, patient } = server;
  if (policy !== "Always") {
    const status = client.image.imageStatus({ image: { image } }, { ...limit(), signal });
    const there = (await doing(`look for image "${image}"`, status)).image;
    if (there !== undefined) return there.id;
    if (policy === "Never") {
      throw new CommandFailure(
        exitCode.failed,
        `image "${image}" is not there, and imagePullPolicy is Never: pull it with "davit pull ${image}"`,
      );
    }
  }
  const pull = client.image.pullImage({ image: { image } }, { ...patient(), signal });
  return (await doing(`pull image "${image}"`, pull)).imageRef;
}

async function imageUserOf(
  { server, signal }: RunContext,
  imageId: string,
): Promise<RunningFacts["imageUser"]> {
  const request = { image: { image: imageId } };
  const { image } = await server.client.image.imageStatus(request, { ...server.limit(), signal });
  const uid = image?.uid?.value;
  return { username: image?.username ?? "", ...(uid === undefined ? {} : { uid }) };
}

async function statusOf(
  { server, signal }: RunContext,
  containerId: string,
): Promise<ContainerStatus | undefined> {
  const call = server.client.runtime.containerStatus(
    { containerId },
    { ...server.limit(), signal },
  );
  return (await doing(`ask for the status of container "${containerId}"`, call)).status;
}

async function untilDone(
  context: RunContext,
  pod: RunningPod,
  container: ContainerManifest,
  id: string,
): Promise<void> {
  for (;;) {
    const status = await statusOf(context, id);
    if (status === undefined || status.state === ContainerState.CONTAINER_EXITED) {
      if (status?.exitCode === 0) return;
      throw await endedBadly(pod, container, status);
    }
    await sleep(pollMs, undefined, { signal: context.signal });
  }
}

/** The error for a container that ended, with the end of its log: what a person would look for. */
async function endedBadly(
  pod: RunningPod,
  container: ContainerManifest,
  status: ContainerStatus | undefined,
): Promise<CommandFailure> {
  const { namespace, name } = pod.manifest;
  const why = [status?.reason ?? "", status?.message ?? ""].filter((text) => text !== "");
  const how = status === undefined ? "is gone" : `ended with code ${status.exitCode}`;
  const reason = why.length === 0 ? "" : ` (${why.join(": ")})`;
  const log = await lastLines(status?.logPath ?? "");
  const said = log.length === 0 ? "; its log is empty" : `; the end of its log:\n${log.join("\n")}`;
  return new CommandFailure(
    exitCode.failed,
    `container "${namespace}/${name}/${container.name}" ${how}${reason}${said}`,
  );
}

async function lastLines(path: string): Promise<readonly string[]> {
  const lines: string[] = [];
  try {
    const signal = AbortSignal.timeout(pollMs * 10);
    for await (const batch of readLog(path, { tail: tailLines, signal })) {
      lines.push(...batch.map(({ text }) => `  ${text.toString().trimEnd()}`));
    }
  } catch {
    // It cannot be read: there is nothing to show.
  }
  return lines;
}

/** A Rollback for one pod whose failures are told. */
export function podRollback(report: RunReport): Rollback {
  return new Rollback({
    totalMs: undoMs,
    tries: 2,
    onStuck: (what, error) => report.warn(`could not ${what}: ${messageOf(error)}`),
  });
}
