/**
 * What a crash test does at one spot: strike, look, do what a kubelet would do, and look again. Each
 * ends with nothing left but the site's bystanders.
 */
import assert from "node:assert/strict";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import {
  code,
  failsWith,
  launchDaemon,
  removePod,
  statusOf,
  stopPod,
} from "../integration/pods.ts";
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
} from "./crash.ts";

/** Where a daemon is killed again while it recovers: at each start the next one. */
export type Recoveries = readonly Spot[];

/** Spots that a half-built sandbox passes when recovery takes it down. */
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

  // Half-built is unlisted; finished and only not answered is listed, and true.
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
 * The daemon dies at `spot` of a recovery that has everything to do: pods in the middle of their
 * making, of their stop and of their removal, a stopped one, and running ones.
 */
export async function killRecover(
  site: CrashSite,
  spot: Spot,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  // All at once: when the first of them dies the others are anywhere.
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

/** A RunPodSandbox fails at `spot`: it is undone when the caller hears of it. */
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

/** Time to look at others while a create hangs, on a busy machine. A sandboxer takes its time to start. */
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
  // Waited for below; until then a failure of it is no unhandled one.
  failed.catch(() => undefined);
  await site.reached(spot);
  await livePod(site, kind);
  await site.checkBystanders();
  assert.equal(await idOf(daemon, config), undefined, "an unfinished pod is listed");
  assert.ok(hangs, "others were no faster than the pod that hung");
  await failed;
  await site.checkNothingLeft();
  const id = await runPod(daemon, config);
  await checkTrue(daemon, id, config, "ready");
  await endPod(site, id, config);
}

/**
 * A StopPodSandbox or RemovePodSandbox hangs at `spot`: it delays nobody else, its callers get
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
  // Nothing to wait for where the record is gone already.
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
  // Nobody can see from outside how far recovery is: SIGTERM may come before it hangs, and then
  // tells so, and it is done again with more time.
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

/** Starts the daemon with a fault, and a pod for it to strike at. */
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

/** Stops and removes the pod, then looks for what is left. */
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
  // Idempotent: what is gone is no error.
  await stopPod(site.daemon, id);
  await removePod(site.daemon, id);
  await site.checkNothingLeft();
}

/** A stop that got as far as `spot` made the sandbox NOTREADY, and its address free or still its own. */
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
    // Nothing is done yet.
    await checkTrue(daemon, id, config, "ready");
  } else if (point === "remove-pod-sandbox/answer") {
    // All is.
    await assert.rejects(statusOf(daemon, id), failsWith(code.notFound));
  } else {
    await checkTrue(daemon, id, config, "not ready");
    checkStopped(daemon, id, config);
  }
}

/** The whole life of another pod. */
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
