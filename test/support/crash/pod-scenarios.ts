/**
 * Scenarios of crash tests at one spot of a pod operation: inject the fault, check the state, do what a kubelet
 * would do, and check again. After each of them only the site's bystanders are left.
 */
import assert from "node:assert/strict";
import type { PodSandboxConfig } from "../../../src/gen/runtime/v1/api_pb.ts";
import { code, failsWith, launchDaemon, removePod, statusOf, stopPod } from "../suites/pods.ts";
import {
  type CrashSite,
  checkStopped,
  checkTrue,
  faultAt,
  idOf,
  type PodKind,
  podOf,
  retry,
  retryRun,
  runPod,
  type Spot,
  spotsOf,
  stageOf,
} from "./sites.ts";

/** The spots at which a daemon is killed again while it recovers, one for each start. */
export type Recoveries = readonly Spot[];

/** Spots that a half-built sandbox passes when recovery removes it. */
export const teardownSpots: readonly Spot[] = spotsOf("remove-pod-sandbox");

/** Whether the daemon that dies at this spot of RunPodSandbox leaves a half-built sandbox. */
export function leavesHalfBuilt({ point }: Spot): boolean {
  return !["write-record", "answer"].includes(stageOf(point));
}

// ---- kill

/** The daemon dies at `spot` of a RunPodSandbox. */
export async function killRun(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  const config = podOf(kind);
  await site.begin(faultAt(spot, "kill"));
  await site.killedBy(spot, runPod(daemon, config));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();

  // A half-built sandbox is not listed. One that is complete but was not answered is listed, with a true status.
  const finished = stageOf(spot.point) === "answer";
  const listed = await idOf(daemon, config);
  assert.equal(listed !== undefined, finished, `listed after the restart: ${listed ?? "no"}`);
  if (listed !== undefined) await checkTrue(daemon, listed, config, "ready");

  const { id, existed } = await retryRun(daemon, config);
  assert.equal(existed, finished);
  await checkTrue(daemon, id, config, "ready");
  await endPod(site, id, config);
}

/** The daemon dies at `spot` of a StopPodSandbox, or in the stop that is part of a removal. */
export async function killStop(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
  by: "stop" | "remove" = "stop",
): Promise<void> {
  const { daemon } = site;
  const { id, config } = await beginWithPod(site, spot, "kill", kind);
  await site.killedBy(spot, by === "stop" ? stopPod(daemon, id) : removePod(daemon, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkNotReady(site, id, config, spot);
  await endPod(site, id, config);
}

/** The daemon dies at `spot` of a RemovePodSandbox of a pod that still runs. */
export async function killRemove(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  const { id, config } = await beginWithPod(site, spot, "kill", kind);
  await site.killedBy(spot, removePod(daemon, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkDuringRemoval(site, id, config, spot);
  await retry("the pod is removed", () => removePod(daemon, id));
  await checkGone(site, id);
}

/**
 * The daemon dies at `spot` of a recovery with all kinds of work: pods that were being created, stopped and
 * removed, a stopped pod, and running pods.
 */
export async function killRecover(
  site: CrashSite,
  spot: Spot,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  // They run at the same time: when the first of them dies, the others are at any stage.
  const configs = [...site.kinds, ...site.kinds].map(podOf);
  const stopped = podOf("with a holder");
  const ending = podOf("with a holder");
  const half: Spot = { point: "run-pod-sandbox/network-added", visit: 5 };
  await site.begin(faultAt(half, "kill"));
  const stoppedId = await runPod(daemon, stopped);
  const endingId = await runPod(daemon, ending);
  await stopPod(daemon, stoppedId);
  const runs = configs.map((config) => runPod(daemon, config));
  void stopPod(daemon, endingId).catch(() => undefined);
  // The fifth ADD to end is the third of these four pods.
  await site.killedBy(half, Promise.all(runs));
  await Promise.allSettled(runs);

  await site.killedInRecovery(spot);
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkTrue(daemon, stoppedId, stopped, "not ready");
  checkStopped(daemon, stoppedId, stopped);
  for (const config of configs) {
    const { id } = await retryRun(daemon, config);
    await checkTrue(daemon, id, config, "ready");
    await endAndRemove(site, id, config);
  }
  await endAndRemove(site, stoppedId, stopped);
  await endPod(site, endingId, ending);
}

// ---- throw

/** A RunPodSandbox fails at `spot`: it is undone before the caller gets the error. */
export async function throwRun(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const config = podOf(kind);
  await site.begin(faultAt(spot, "throw"));
  await assert.rejects(runPod(daemon, config), failsAt(spot));
  await site.checkNothingLeft();
  const id = await runPod(daemon, config);
  await checkTrue(daemon, id, config, "ready");
  await endPod(site, id, config);
}

/** A StopPodSandbox fails at `spot`. */
export async function throwStop(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { id, config } = await beginWithPod(site, spot, "throw", kind);
  await assert.rejects(stopPod(daemon, id), failsAt(spot));
  await site.checkBystanders();
  await checkNotReady(site, id, config, spot);
  await endPod(site, id, config);
}

/** A RemovePodSandbox of a running pod fails at `spot`. */
export async function throwRemove(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { id, config } = await beginWithPod(site, spot, "throw", kind);
  await assert.rejects(removePod(daemon, id), failsAt(spot));
  await site.checkBystanders();
  await checkDuringRemoval(site, id, config, spot);
  await removePod(daemon, id);
  await checkGone(site, id);
}

/** A recovery fails at `spot`: the daemon ends and says why, and the next one recovers. */
export async function throwRecover(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const config = await leaveHalfBuilt(site, kind);
  const from = daemon.lines.length;
  daemon.launch({ DAVIT_FAULTS: faultAt(spot, "throw") });
  const { code: exitCode } = await daemon.exited;
  assert.equal(exitCode, 1, daemon.tail(5));
  await daemon.waitForLine(new RegExp(`stage ${stageOf(spot.point)}, .*injected at`), from);
  await recoverAfter(site, []);
  await site.checkBystanders();
  const { id } = await retryRun(daemon, config);
  await endPod(site, id, config);
}

// ---- hang

/** Time to check others while a create hangs, on a busy machine. A sandboxer is slow to start. */
const hangSeconds = (kind: PodKind): number => (kind === "by a sandboxer" ? 12 : 4);

/** A RunPodSandbox hangs at `spot` until its own deadline, which is a short one here. */
export async function hangRun(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const config = podOf(kind);
  daemon.changeConfig({ runtime: { create_timeout_seconds: hangSeconds(kind) } });
  await site.begin(faultAt(spot, "hang"));
  daemon.changeConfig({}); // for the next start
  let hangs = true;
  const failed = assert
    .rejects(runPod(daemon, config), failsAt(spot, code.deadlineExceeded, /took longer than/))
    .finally(() => {
      hangs = false;
    });
  // It is awaited below. Until then its failure must not be an unhandled rejection.
  failed.catch(() => undefined);
  await site.reached(spot);
  await livePod(site, kind);
  await site.checkBystanders();
  assert.equal(await idOf(daemon, config), undefined, "an unfinished pod is listed");
  assert.ok(hangs, "other pods were as slow as the pod that hung");
  await failed;
  await site.checkNothingLeft();
  const id = await runPod(daemon, config);
  await checkTrue(daemon, id, config, "ready");
  await endPod(site, id, config);
}

/**
 * A StopPodSandbox or RemovePodSandbox hangs at `spot`: it delays no other call, its callers get
 * their own deadlines, and the daemon can be stopped.
 */
export async function hangEnd(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  by: "stop" | "remove",
): Promise<void> {
  const { daemon } = site;
  const { id, config } = await beginWithPod(site, spot, "hang", kind);
  const verb = by === "stop" ? "stopPodSandbox" : "removePodSandbox";
  const call = daemon.client.runtime[verb]({ podSandboxId: id });
  const failed = assert.rejects(call, failsAt(spot, code.unavailable, /shutting down/));
  failed.catch(() => undefined);
  await site.reached(spot);
  await livePod(site, kind);
  await site.checkBystanders();
  if (spot.point.startsWith("stop-")) await checkNotReady(site, id, config, spot);
  else await checkDuringRemoval(site, id, config, spot);
  // If the record is deleted already, there is nothing to wait for.
  if (spot.point !== "remove-pod-sandbox/answer") {
    const second = daemon.client.runtime[verb]({ podSandboxId: id }, { timeoutMs: 200 });
    await assert.rejects(second, failsWith(code.deadlineExceeded));
  }

  const { code: exitCode } = await daemon.stop();
  assert.equal(exitCode, 0);
  await failed;
  await site.recover();
  await site.checkBystanders();
  await retry("the pod is removed", () => removePod(daemon, id));
  await checkGone(site, id);
}

/** A recovery hangs at `spot`: the socket answers, and the daemon can be stopped. */
export async function hangRecover(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const config = await leaveHalfBuilt(site, kind);
  const stuck = new RegExp(`stage ${stageOf(spot.point)}, .*shutting down`);
  // The progress of a recovery is not visible from outside. If SIGTERM arrives before it hangs, the log says so,
  // and the scenario runs again with more time.
  for (let pauseMs = 50; ; pauseMs *= 2) {
    const from = daemon.lines.length;
    daemon.launch({ DAVIT_FAULTS: faultAt(spot, "hang") });
    await daemon.ready();
    await assert.rejects(idOf(daemon, config), failsWith(code.unavailable, /last run/));
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    await assert.rejects(idOf(daemon, config), failsWith(code.unavailable, /last run/));
    assert.equal((await daemon.stop()).code, 0);
    if (daemon.lines.slice(from).some(({ text }) => stuck.test(text))) break;
    assert.ok(pauseMs < 3000, `${spot.point} was never hit\n${daemon.tail(5)}`);
  }
  await recoverAfter(site, []);
  await site.checkBystanders();
  const { id } = await retryRun(daemon, config);
  await endPod(site, id, config);
}

// ---- steps

/** Starts the daemon with a fault, and runs a pod for it. */
async function beginWithPod(
  site: CrashSite,
  spot: Spot,
  action: "kill" | "throw" | "hang",
  kind: PodKind,
): Promise<{ readonly id: string; readonly config: PodSandboxConfig }> {
  await site.begin(faultAt(spot, action));
  const config = podOf(kind);
  const id = await runPod(site.daemon, config);
  await checkTrue(site.daemon, id, config, "ready");
  return { id, config };
}

/** Leaves the daemon dead, with a half-built sandbox of this pod. */
async function leaveHalfBuilt(site: CrashSite, kind: PodKind): Promise<PodSandboxConfig> {
  const config = podOf(kind);
  const last = kind === "by a sandboxer" ? "start-sandbox" : "write-sysctls";
  const half: Spot = { point: `run-pod-sandbox/${last}`, visit: 1 };
  await site.begin(faultAt(half, "kill"));
  await site.killedBy(half, runPod(site.daemon, config));
  return config;
}

export async function recoverAfter(site: CrashSite, recoveries: Recoveries): Promise<void> {
  for (const spot of recoveries) await site.killedInRecovery(spot);
  await launchDaemon(site.daemon);
}

/** Stops and removes the pod, then checks that nothing is left. */
async function endPod(site: CrashSite, id: string, config: PodSandboxConfig): Promise<void> {
  await endAndRemove(site, id, config);
  await checkGone(site, id);
}

async function endAndRemove(site: CrashSite, id: string, config: PodSandboxConfig): Promise<void> {
  const { daemon } = site;
  await retry("the pod is stopped", () => stopPod(daemon, id));
  await checkTrue(daemon, id, config, "not ready");
  checkStopped(daemon, id, config);
  await retry("the pod is removed", () => removePod(daemon, id));
}

async function checkGone(site: CrashSite, id: string): Promise<void> {
  await assert.rejects(statusOf(site.daemon, id), failsWith(code.notFound));
  // Idempotent: a pod that does not exist is not an error.
  await stopPod(site.daemon, id);
  await removePod(site.daemon, id);
  await site.checkNothingLeft();
}

/** Checks that the sandbox is NOTREADY, and that its address is free if the stop removed it before `spot`. */
async function checkNotReady(
  site: CrashSite,
  id: string,
  config: PodSandboxConfig,
  { point }: Spot,
): Promise<void> {
  const status = await checkTrue(site.daemon, id, config, "not ready");
  const freed = ["network-removed", "close-namespaces", "write-record", "answer"];
  if (freed.includes(stageOf(point))) {
    assert.equal(status.network?.ip, "", "an address that was given back");
  }
}

async function checkDuringRemoval(
  site: CrashSite,
  id: string,
  config: PodSandboxConfig,
  { point }: Spot,
): Promise<void> {
  const { daemon } = site;
  if (point === "remove-pod-sandbox/stop") {
    // The stop has changed nothing yet.
    await checkTrue(daemon, id, config, "ready");
  } else if (point === "remove-pod-sandbox/answer") {
    // The stop is complete.
    await assert.rejects(statusOf(daemon, id), failsWith(code.notFound));
  } else {
    await checkTrue(daemon, id, config, "not ready");
    checkStopped(daemon, id, config);
  }
}

/** Runs, stops and removes another pod. */
async function livePod(site: CrashSite, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const config = podOf(kind);
  const id = await runPod(daemon, config);
  await checkTrue(daemon, id, config, "ready");
  await endAndRemove(site, id, config);
}

export function failsAt(
  { point }: Spot,
  want: number = code.internal,
  why = /a fault was injected at/,
): (error: unknown) => true {
  const text = new RegExp(`stage ${stageOf(point)}, .*${why.source}`);
  return failsWith(want, text);
}
