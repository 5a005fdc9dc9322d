/**
 * Scenarios of crash tests at one spot of a container operation: kill the daemon, check the state, do what a
 * kubelet would do, and check again. After each of them only the site's bystanders are left.
 */
import assert from "node:assert/strict";
import {
  type ContainerInit,
  CREATED,
  containerInfo,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  pull,
  remove,
  removeImage,
  RUNNING,
  runIn,
  sh,
  start,
  stop,
} from "../suites/containers.ts";
import { code, failsWith, until } from "../suites/pods.ts";
import type { CrashSite, PodKind } from "./sites.ts";
import { faultAt, type Spot, stageOf } from "./spots.ts";
import {
  checkContainer,
  checkImage,
  checkRemoved,
  endContainer,
  freshImage,
  homeOf,
  listedContainer,
  listener,
  processesOf,
  retryCreate,
  untilUp,
} from "./containers.ts";
import { type Recoveries, recoverAfter } from "./pod-scenarios.ts";
import type { TestDaemon } from "../daemon.ts";
import {
  beginWithContainer,
  checkDuringRemoval,
  checkNoCommand,
  execFor,
  graceFor,
  startAndEnd,
} from "./container-steps.ts";

/** How a kubelet retries a container whose start was cut: the same call, or a new container. */
export type Retry = "same" | "new";

/** The daemon dies at `spot` of a CreateContainer. */
export async function killCreate(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  await site.begin(faultAt(spot, "kill"));
  const pod = homeOf(site, kind);
  const config = listener();
  await site.killedBy(spot, createIn(pod, config));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();

  // A half-built container is not listed. One that is complete but was not answered is listed, with a true status.
  const finished = stageOf(spot.point) === "answer";
  const listed = await listedContainer(site.daemon, config);
  assert.equal(listed !== undefined, finished, `listed after the restart: ${listed ?? "no"}`);
  const { id, existed } = await retryCreate(pod, config);
  assert.equal(existed, finished);
  await checkContainer(pod, id, CREATED);
  await startAndEnd(site, pod, id, config);
}

/** The daemon dies at `spot` of a StartContainer. */
export async function killStart(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
  how: Retry = "same",
): Promise<void> {
  const { daemon } = site;
  await site.begin(faultAt(spot, "kill"));
  const pod = homeOf(site, kind);
  const config = listener();
  const id = await createIn(pod, config);
  await site.killedBy(spot, start(daemon, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();

  // Either its command runs and belongs to the container, or it never ran and left nothing.
  if (["finish-record", "answer"].includes(stageOf(spot.point))) {
    await untilRecovered(daemon, id);
    await checkContainer(pod, id, RUNNING);
    await untilUp(pod, config);
    await assert.rejects(start(daemon, id), failsWith(code.failedPrecondition, /running/));
    await endContainer(site, pod, id);
    return;
  }
  await checkContainer(pod, id, CREATED);
  if (how === "same") {
    await startAndEnd(site, pod, id, config);
    return;
  }
  await remove(daemon, id);
  const next = { ...config, metadata: { ...config.metadata, attempt: 1 } } as ContainerInit;
  await startAndEnd(site, pod, await createIn(pod, next), next);
}

/** The daemon dies at `spot` of a StopContainer. */
export async function killStop(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "kill", kind);
  const { pid } = await containerInfo(daemon, id);
  await site.killedBy(spot, stop(daemon, id, graceFor(spot)));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();

  // A signal that was sent has its effect. One that was not sent changes nothing.
  const code = exitCodeAfter(spot);
  if (code === undefined) {
    await checkContainer(pod, id, RUNNING);
    assert.equal((await containerInfo(daemon, id))["pid"], pid);
    await stop(daemon, id, 20);
  }
  const status = await exited(daemon, id);
  assert.equal(status.exitCode, code ?? 3, status.reason);
  assert.ok(status.finishedAt >= status.startedAt && status.startedAt > 0n);
  await endContainer(site, pod, id);
}

/** The daemon dies at `spot` of a RemoveContainer, of one that runs or of one that never did. */
export async function killRemove(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
  state: "running" | "created" = "running",
): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "kill", kind, state);
  await site.killedBy(spot, remove(daemon, id));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkDuringRemoval(pod, id, spot, state);
  await remove(daemon, id);
  await checkRemoved(site, pod, id);
}

/** The daemon dies at `spot` of an ExecSync: the command ends with it, the container keeps running. */
export async function killExec(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "kill", kind);
  const before = processesOf(pod, id);
  await site.killedBy(spot, execFor(daemon, id, spot));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkContainer(pod, id, RUNNING);
  await checkNoCommand(pod, id, before);
  assert.equal(await sh(daemon, id, "echo again"), "again");
  await endContainer(site, pod, id);
}

/**
 * The daemon dies at `spot` of a recovery that has containers to restore in every state: half-built,
 * half-started, running with a command in it, ended, half-removed, and an incomplete image.
 */
export async function killRecoverContainers(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { daemon } = site;
  const pod = homeOf(site, kind);
  // The fourth start that reaches the stage is one of those that run at the same time.
  const half: Spot = { point: "start-container/finish-record", visit: 4 };
  await site.begin(faultAt(half, "kill"));
  const image = await freshImage(daemon);
  const [running, ended, leaving] = [await runIn(pod), await runIn(pod), await runIn(pod)];
  await stop(daemon, ended);
  const configs = Array.from({ length: 3 }, () => listener());
  const ids = await Promise.all(configs.map((config) => createIn(pod, config)));
  const making = Array.from({ length: 3 }, () => listener());
  const calls: Promise<unknown>[] = [
    ...ids.map((id) => start(daemon, id)),
    ...making.map((config) => createIn(pod, config)),
    exec(daemon, running, ["sleep", "1000"]),
    remove(daemon, leaving),
    pull(daemon, image.name),
  ];
  await site.killedBy(half, Promise.all(calls));
  await Promise.allSettled(calls);

  await site.killedInRecovery(spot);
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  await checkContainer(pod, running, RUNNING);
  await checkNoCommand(pod, running, processesOf(pod, running).slice(0, 1));
  await checkContainer(pod, ended, EXITED);
  await remove(daemon, leaving);
  for (const [at, id] of ids.entries()) {
    // If the first start succeeded before the daemon died, this one fails: the container runs already.
    await start(daemon, id).catch(failsWith(code.failedPrecondition, /running/));
    await checkContainer(pod, id, RUNNING);
    await untilUp(pod, configs[at] ?? {});
  }
  for (const config of making) {
    const { id } = await retryCreate(pod, config);
    await checkContainer(pod, id, CREATED);
    await remove(daemon, id);
  }
  for (const id of [running, ended, ...ids]) await remove(daemon, id);
  await pull(daemon, image.name);
  await checkImage(pod, image);
  await removeImage(daemon, image.name);
  await site.checkNothingLeft();
}

/** Until the recovery has inspected a container, lists show its recorded state. */
async function untilRecovered(daemon: TestDaemon, id: string): Promise<void> {
  await until("the start is found", async () => {
    return (await containerStatus(daemon, id)).state !== CREATED;
  });
}

/** The exit code of a process that was stopped before its daemon died; undefined if it still runs. */
function exitCodeAfter({ point }: Spot): number | undefined {
  const codes: Readonly<Record<string, number>> = {
    "wait-for-end": 3,
    "wait-for-exit": 137,
    answer: 3,
  };
  return codes[stageOf(point)];
}
