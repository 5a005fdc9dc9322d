/**
 * Scenarios of crash tests at one spot of a container operation: let it fail, check the state, do what a
 * kubelet would do, and check again. After each of them only the site's bystanders are left.
 */
import assert from "node:assert/strict";
import { createIn, EXITED, remove, sh, start, stop } from "../suites/containers.ts";
import { code, failsWith } from "../suites/pods.ts";
import type { CrashSite, PodKind } from "./sites.ts";
import { faultAt, type Spot } from "./spots.ts";
import {
  checkContainer,
  checkRemoved,
  endContainer,
  homeOf,
  listener,
  processesOf,
} from "./containers.ts";
import { failsAt } from "./pod-scenarios.ts";
import {
  beginWithContainer,
  checkDuringRemoval,
  checkNoCommand,
  checkStartFailed,
  execFor,
  graceFor,
  startAndEnd,
} from "./container-steps.ts";

/** A CreateContainer fails at `spot`: it is undone before the caller gets the error. */
export async function throwCreate(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  await site.begin(faultAt(spot, "throw"));
  const pod = homeOf(site, kind);
  const config = listener();
  await assert.rejects(createIn(pod, config), failsAt(spot));
  await site.checkNothingLeft();
  await startAndEnd(site, pod, await createIn(pod, config), config);
}

/** A StartContainer fails at `spot`: nothing runs, and the status says why. */
export async function throwStart(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "throw"));
  const pod = homeOf(site, kind);
  const config = listener();
  const id = await createIn(pod, config);
  await assert.rejects(start(daemon, id), failsAt(spot));
  await site.checkBystanders();
  await checkStartFailed(pod, id, spot, /a fault was injected/);
  await remove(daemon, id);
  await checkRemoved(site, pod, id);
  const next = listener();
  await startAndEnd(site, pod, await createIn(pod, next), next);
}

/** A StopContainer fails at `spot`. */
export async function throwStop(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "throw", kind);
  await assert.rejects(stop(daemon, id, graceFor(spot)), failsAt(spot));
  await site.checkBystanders();
  await stop(daemon, id, graceFor(spot));
  const status = await checkContainer(pod, id, EXITED);
  assert.equal(status.exitCode, graceFor(spot) === 0 ? 137 : 3);
  await endContainer(site, pod, id);
}

/** A RemoveContainer of a running container fails at `spot`. */
export async function throwRemove(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "throw", kind);
  await assert.rejects(remove(daemon, id), failsAt(spot));
  await site.checkBystanders();
  await checkDuringRemoval(pod, id, spot, "running");
  await remove(daemon, id);
  await checkRemoved(site, pod, id);
}

/** An ExecSync fails at `spot`: its command is gone, its container keeps running. */
export async function throwExec(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "throw", kind);
  const before = processesOf(pod, id);
  // A command that cannot be killed at once is killed again, and its caller gets the timeout.
  const isKill = spot.point === "exec-sync/kill-command";
  const fails = isKill ? failsWith(code.deadlineExceeded, /stage wait-for-end/) : failsAt(spot);
  await assert.rejects(execFor(daemon, id, spot), fails);
  await checkNoCommand(pod, id, before);
  assert.equal(await sh(daemon, id, "echo again"), "again");
  await endContainer(site, pod, id);
}
