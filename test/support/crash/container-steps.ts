/** Steps that the scenarios of container-kills.ts, container-failures.ts, hangs.ts and streams.ts have in common. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import {
  byShim,
  type ContainerInit,
  CREATED,
  containerStatus,
  createIn,
  EXITED,
  exec,
  type Pod,
  RUNNING,
  start,
} from "../suites/containers.ts";
import { code, failsWith, until } from "../suites/pods.ts";
import { type CrashSite, type PodKind, retry } from "./sites.ts";
import { type FaultAction, faultAt, type Spot, stageOf } from "./spots.ts";
import {
  checkContainer,
  endContainer,
  homeOf,
  listener,
  processesOf,
  untilUp,
} from "./containers.ts";
import type { TestDaemon } from "../daemon.ts";

/** Starts the daemon with a fault, and creates a container for it. */
export async function beginWithContainer(
  site: CrashSite,
  spot: Spot,
  action: FaultAction,
  kind: PodKind,
  state: "running" | "created" = "running",
): Promise<{ readonly pod: Pod; readonly id: string }> {
  await site.begin(faultAt(spot, action));
  const pod = homeOf(site, kind);
  const config = listener();
  const id = await createIn(pod, config);
  if (state === "created") return { pod, id };
  await start(site.daemon, id);
  await untilUp(pod, config);
  // The sleep process that it waits for.
  await until("its child is there", () => processesOf(pod, id).length === 2);
  return { pod, id };
}

/** Starts a created container, checks that it runs once, and ends it. */
export async function startAndEnd(
  site: CrashSite,
  pod: Pod,
  id: string,
  config: ContainerInit,
): Promise<void> {
  await retry("the container starts", () => start(pod.daemon, id));
  await untilUp(pod, config);
  await checkContainer(pod, id, RUNNING);
  await endContainer(site, pod, id);
}

/** A grace period with which a stop passes the spot. Seconds. */
export function graceFor({ point }: Spot): number {
  return /(send-signal|wait-for-end|answer)$/.test(point) ? 20 : 0;
}

/** Checks a container whose removal was cut at the spot. */
export async function checkDuringRemoval(
  pod: Pod,
  id: string,
  { point }: Spot,
  state: "running" | "created",
): Promise<void> {
  if (point === "remove-container/answer") {
    await assert.rejects(containerStatus(pod.daemon, id), failsWith(code.notFound));
  } else if (state === "created") {
    await checkContainer(pod, id, CREATED);
  } else if (point === "remove-container/stop") {
    await checkContainer(pod, id, RUNNING);
  } else {
    assert.equal((await checkContainer(pod, id, EXITED)).exitCode, 137);
  }
}

/** After a failed start the container is exited with StartError and 128, and the message that its caller got. */
export async function checkStartFailed(
  pod: Pod,
  id: string,
  { point }: Spot,
  why: RegExp,
): Promise<void> {
  if (point === "start-container/answer") {
    await checkContainer(pod, id, RUNNING);
    return;
  }
  const status = await checkContainer(pod, id, EXITED);
  assert.deepEqual([status.exitCode, status.reason], [128, "StartError"]);
  assert.match(status.message, why);
  assert.match(status.message, new RegExp(`stage ${stageOf(point)}`));
}

/** An ExecSync that passes the spot. Its command keeps running if the spot needs a running command. */
export function execFor(daemon: TestDaemon, id: string, { point }: Spot): Promise<unknown> {
  if (point === "exec-sync/kill-command") return exec(daemon, id, ["sleep", "1000"], 1);
  const lasts = /(start-process|wait-for-end)$/.test(point);
  return exec(daemon, id, lasts ? ["sleep", "1000"] : ["echo", "hi"]);
}

/** Checks that no process and no file of a command is left. */
export async function checkNoCommand(
  pod: Pod,
  id: string,
  before: readonly number[],
): Promise<void> {
  await until("no process of a command is left", () => {
    return processesOf(pod, id).every((pid) => before.includes(pid));
  });
  assert.deepEqual(processesOf(pod, id), before);
  if (byShim) {
    const bundle = path.join(pod.daemon.paths.state, "shims/tasks", id);
    const left = (): readonly string[] =>
      readdirSync(bundle).filter((name) => name.startsWith("exec-"));
    await until("no fifo of a command is left", () => left().length === 0);
    return;
  }
  assert.deepEqual(readdirSync(path.join(pod.daemon.paths.state, "execs")), []);
}
