/**
 * Scenarios of crash tests in which an operation on a container or an image hangs: it delays no other call, ends
 * at its deadline or when the object is removed, and does not prevent the shutdown of the daemon.
 */
import assert from "node:assert/strict";
import {
  type ContainerInit,
  createIn,
  EXITED,
  exec,
  imageStatus,
  type Pod,
  pull,
  remove,
  removeImage,
  RUNNING,
  runIn,
  sh,
  start,
  stop,
} from "../suites/containers.ts";
import { code, failsWith, removePod, stopPod, until } from "../suites/pods.ts";
import { type CrashSite, type PodKind, podOf, runPod } from "./sites.ts";
import { faultAt, type Spot, stageOf } from "./spots.ts";
import {
  beginWithContainer,
  checkNoCommand,
  checkStartFailed,
  graceFor,
  startAndEnd,
} from "./container-steps.ts";
import {
  checkContainer,
  checkImage,
  checkRemoved,
  endContainer,
  freshImage,
  homeOf,
  listedContainer,
  listener,
  liveContainer,
  processesOf,
  unfinishedLayers,
} from "./containers.ts";
import { failsAt } from "./pod-scenarios.ts";
import type { TestDaemon } from "../daemon.ts";

/** Time to check others while an operation hangs, on a busy machine. */
const hangSeconds = 4;

/** A call that hangs, and its result, which is awaited later. */
function hanging(call: Promise<unknown>, how: (error: unknown) => true): Promise<void> {
  const failed = assert.rejects(call, how);
  failed.catch(() => undefined);
  return failed;
}

/** A CreateContainer hangs at `spot` until its own deadline. */
export async function hangCreate(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const pod = await beginWithShortClock(site, spot, kind);
  const config = listener();
  const failed = hanging(createIn(pod, config), failsLate(spot));
  await site.reached(spot);
  await liveContainer(pod);
  assert.equal(
    await listedContainer(site.daemon, config),
    undefined,
    "an unfinished one is listed",
  );
  await failed;
  await site.checkNothingLeft();
  await startAndEnd(site, pod, await createIn(pod, config), config);
}

/** A StartContainer hangs at `spot` until its own deadline. */
export async function hangStart(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const pod = await beginWithShortClock(site, spot, kind);
  const id = await createIn(pod, listener());
  const failed = hanging(start(site.daemon, id), failsLate(spot));
  await site.reached(spot);
  await liveContainer(pod);
  await failed;
  await checkStartFailed(pod, id, spot, /took longer than/);
  await endContainer(site, pod, id);
}

/** The call that ends the operation that hangs. */
type Ender = "StopContainer" | "RemoveContainer" | "StopPodSandbox" | "RemovePodSandbox";

/** A StartContainer hangs at `spot`, and the container or its pod is ended nevertheless. */
export async function endHungStart(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  by: Ender,
): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "hang"));
  const pod = await ownPod(daemon, kind);
  const id = await createIn(pod, listener());
  const failed = hanging(start(daemon, id), failsAt(spot, code.aborted, /being (stopped|removed)/));
  await site.reached(spot);
  await endBy(pod, id, by);
  await failed;
  if (by === "StopContainer" || by === "StopPodSandbox") {
    // At its last stage the container runs already, and is stopped like any other.
    const isStarted = spot.point === "start-container/answer";
    const status = await checkContainer(pod, id, EXITED);
    assert.deepEqual([status.exitCode, status.reason], isStarted ? [137, "Error"] : failedStart);
  }
  await removePod(daemon, pod.id);
  await checkRemoved(site, pod, id);
}

const failedStart = [128, "StartError"];

/** A CreateContainer hangs at `spot`, and its pod is ended nevertheless. */
export async function endHungCreate(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  by: "StopPodSandbox" | "RemovePodSandbox",
): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "hang"));
  const pod = await ownPod(daemon, kind);
  const config = listener();
  const failed = hanging(
    createIn(pod, config),
    failsAt(spot, code.aborted, /being (stopped|removed)/),
  );
  await site.reached(spot);
  await endBy(pod, "", by);
  await failed;
  assert.equal(await listedContainer(daemon, config), undefined);
  await removePod(daemon, pod.id);
  await site.checkNothingLeft();
}

/**
 * An operation hangs at `spot` when the daemon is stopped: the daemon ends, the caller gets an error that asks
 * for a retry, and the next daemon finds a consistent state.
 */
export async function hangAtShutdown(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "hang"));
  const pod = homeOf(site, kind);
  const config = listener();
  const id = await createIfNeeded(pod, config, spot);
  const call = id === undefined ? createIn(pod, config) : verbOf(daemon, id, spot);
  const failed = hanging(call, failsAt(spot, code.unavailable, /shutting down/));
  await site.reached(spot);
  await liveContainer(pod);
  const { code: exitCode } = await daemon.stop();
  assert.equal(exitCode, 0);
  await failed;
  await site.recover();
  await site.checkBystanders();
  const left = id ?? (await listedContainer(daemon, config));
  if (left !== undefined) await remove(daemon, left);
  await site.checkNothingLeft();
}

/** A StopContainer hangs at `spot`: another one goes through, and others are not delayed. */
export async function hangStop(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "hang", kind);
  const stopping = new AbortController();
  const request = { containerId: id, timeout: BigInt(graceFor(spot)) };
  const call = daemon.client.runtime.stopContainer(request, { signal: stopping.signal });
  const failed = hanging(call, failsWith(code.canceled));
  await site.reached(spot);
  await liveContainer(pod);
  await stop(daemon, id, graceFor(spot));
  await checkContainer(pod, id, EXITED);
  stopping.abort();
  await failed;
  await endContainer(site, pod, id);
}

/** A RemoveContainer hangs at `spot`: its callers keep their own deadlines. */
export async function hangRemove(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "hang", kind);
  const failed = hanging(remove(daemon, id), failsAt(spot, code.unavailable, /shutting down/));
  await site.reached(spot);
  await liveContainer(pod);
  if (spot.point !== "remove-container/answer") {
    const second = daemon.client.runtime.removeContainer({ containerId: id }, { timeoutMs: 200 });
    await assert.rejects(second, failsWith(code.deadlineExceeded));
  }
  assert.equal((await daemon.stop()).code, 0);
  await failed;
  await site.recover();
  await site.checkBystanders();
  await remove(daemon, id);
  await checkRemoved(site, pod, id);
}

/** An ExecSync hangs at `spot` until its timeout: the container and its other commands do not. */
export async function hangExec(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "hang", kind);
  const before = processesOf(pod, id);
  // The error names the stage that took the time, not the one that undoes it.
  const isKill = spot.point === "exec-sync/kill-command";
  const stage = isKill ? "wait-for-end" : stageOf(spot.point);
  const late = failsWith(code.deadlineExceeded, new RegExp(`stage ${stage}, .*took longer than`));
  const command = /(drain-output|answer)$/.test(spot.point) ? ["true"] : ["sleep", "1000"];
  const failed = hanging(exec(daemon, id, command, 2), late);
  await site.reached(spot);
  assert.equal(await sh(daemon, id, "echo meanwhile"), "meanwhile");
  await failed;
  await checkNoCommand(pod, id, before);
  await checkContainer(pod, id, RUNNING);
  await endContainer(site, pod, id);
}

/** A PullImage hangs at `spot` until its caller disconnects. Other pulls do not hang. */
export async function hangPull(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "hang"));
  const pod = homeOf(site, kind);
  const [image, other] = [await freshImage(daemon), await freshImage(daemon)];
  const caller = new AbortController();
  const { signal } = caller;
  const call = daemon.client.image.pullImage({ image: { image: image.name } }, { signal });
  const failed = hanging(call, failsWith(code.canceled));
  await site.reached(spot);
  await pull(daemon, other.name);
  await removeImage(daemon, other.name);
  const recorded = spot.point === "pull-image/answer";
  assert.equal((await imageStatus(daemon, image.name)) !== undefined, recorded);
  caller.abort();
  await failed;
  // Otherwise the next pull of the same image would join it.
  await site.left(spot);
  await until("nothing half-made is left", () => unfinishedLayers(daemon).length === 0);
  await pull(daemon, image.name);
  await checkImage(pod, image);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

/** A RemoveImage hangs at `spot`: other images can be removed, the daemon can be stopped, and the removal finishes. */
export async function hangRemoveImage(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "hang"));
  const pod = homeOf(site, kind);
  const [image, other] = [await freshImage(daemon), await freshImage(daemon)];
  await pull(daemon, image.name);
  const shutDown = failsAt(spot, code.unavailable, /shutting down/);
  const failed = hanging(removeImage(daemon, image.name), shutDown);
  await site.reached(spot);
  await pull(daemon, other.name);
  await checkImage(pod, other);
  await removeImage(daemon, other.name);
  assert.equal((await daemon.stop()).code, 0);
  await failed;
  await site.recover();
  await site.checkBystanders();
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

// ---- steps

/** Starts the daemon with a fault that hangs, and with short deadlines for creates and starts. */
async function beginWithShortClock(site: CrashSite, spot: Spot, kind: PodKind): Promise<Pod> {
  const { daemon } = site;
  daemon.changeConfig({ runtime: { create_timeout_seconds: hangSeconds } });
  await site.begin(faultAt(spot, "hang"));
  daemon.changeConfig({}); // for the next start
  return homeOf(site, kind);
}

const failsLate = (spot: Spot): ((error: unknown) => true) =>
  failsAt(spot, code.deadlineExceeded, /took longer than/);

async function ownPod(daemon: TestDaemon, kind: PodKind): Promise<Pod> {
  const config = podOf(kind);
  config.logDirectory = `${daemon.paths.directory}/logs/${config.metadata?.uid ?? ""}`;
  return { daemon, id: await runPod(daemon, config), config };
}

async function endBy({ daemon, id }: Pod, containerId: string, by: Ender): Promise<void> {
  if (by === "StopContainer") await stop(daemon, containerId);
  else if (by === "RemoveContainer") await remove(daemon, containerId);
  else if (by === "StopPodSandbox") await stopPod(daemon, id);
  else await removePod(daemon, id);
}

/** The container of the spot's operation; undefined if the operation creates one. */
async function createIfNeeded(
  pod: Pod,
  config: ContainerInit,
  { point }: Spot,
): Promise<string | undefined> {
  if (point.startsWith("create-")) return undefined;
  return point.startsWith("start-") ? createIn(pod, config) : runIn(pod, config);
}

function verbOf(daemon: TestDaemon, id: string, spot: Spot): Promise<unknown> {
  if (spot.point.startsWith("start-")) return start(daemon, id);
  if (spot.point.startsWith("stop-")) return stop(daemon, id, graceFor(spot));
  if (spot.point.startsWith("remove-")) return remove(daemon, id);
  const isKill = spot.point === "exec-sync/kill-command";
  return exec(daemon, id, isKill ? ["sleep", "1000"] : ["true"], isKill ? 1 : 0);
}
