/**
 * Scenarios of crash tests at one spot of a rotation of a container's log. Afterwards each line is in one file of
 * the log, once, and the container writes to the file at its path.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import {
  containerInfo,
  createIn,
  exited,
  logLines,
  type Pod,
  RUNNING,
  script,
  start,
  stop,
} from "../suites/containers.ts";
import { until } from "../suites/pods.ts";
import type { CrashSite, PodKind } from "./sites.ts";
import { type FaultAction, faultAt, type Spot, stageOf } from "./spots.ts";
import { checkContainer, endContainer, homeOf, processesOf } from "./containers.ts";
import { failsAt, type Recoveries, recoverAfter } from "./pod-scenarios.ts";

/** The old file when the call of a rotation fails: kubelet renames it back, unless it dies as well. */
export type OldFile = "renamed back" | "left";

/** Counts until SIGTERM, and prints "end" then. */
const counting =
  'trap "echo end; exit 3" TERM; n=0; while :; do n=$((n+1)); echo $n; usleep 2000; done';

/** A container that counts into a log in a directory of its own. */
interface Counter {
  readonly pod: Pod;
  readonly id: string;
  readonly directory: string;
  readonly file: string;
}

/** The daemon dies at `spot` of a ReopenContainerLog, and the container ends before the next one starts, or runs on. */
export async function killReopen(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  { old, ends }: { readonly old: OldFile; readonly ends: boolean },
  recoveries: Recoveries = [],
): Promise<void> {
  await withCounter(site, spot, "kill", kind, async (counter) => {
    const { pod, id, directory, file } = counter;
    const { pid } = await containerInfo(pod.daemon, id);
    const rotated = `${file}.20260101-000000`;
    renameSync(file, rotated);
    await site.killedBy(spot, reopen(counter));
    if (old === "renamed back") renameSync(rotated, file);
    const hidden = path.join(directory, ".0.log.new");
    const isTaken = stageOf(spot.point) === "publish-log";
    if (isTaken) await until("it writes to the new file", () => sizeOf(hidden) > 0);
    if (ends) {
      process.kill(Number(pid), "SIGTERM");
      await until("it has ended", () => processesOf(pod, id).length === 0);
    }
    await recoverAfter(site, recoveries);
    await site.checkBystanders();
    if (ends) {
      await exited(pod.daemon, id);
      assert.ok(!existsSync(hidden), "no line is in a hidden file when the container is exited");
      return;
    }
    await checkContainer(pod, id, RUNNING);
    if (isTaken) await until("the new file has its name", () => !existsSync(hidden));
    if (isTaken || old === "renamed back") {
      const before = sizeOf(file);
      await until("it writes to the file at the path", () => sizeOf(file) > before);
    }
    await rotateAgain(counter);
  });
}

/** A ReopenContainerLog fails at `spot`. Its caller renames the old file back, and rotates again later. */
export async function throwReopen(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  await withCounter(site, spot, "throw", kind, async (counter) => {
    const rotated = `${counter.file}.20260101-000000`;
    renameSync(counter.file, rotated);
    await assert.rejects(reopen(counter), failsAt(spot));
    assert.ok(!existsSync(counter.file), "no new file is at the path after an error");
    renameSync(rotated, counter.file);
    await checkContainer(counter.pod, counter.id, RUNNING);
    await rotateAgain(counter);
  });
}

/** As kubelet does later: also without a file at the path, which it takes for a rotation that was cut. */
async function rotateAgain(counter: Counter): Promise<void> {
  const { file } = counter;
  if (existsSync(file)) renameSync(file, `${file}.20990101-000000`);
  await reopen(counter);
  await until("it writes there", () => sizeOf(file) > 0);
}

/** Runs a container that counts during `use`, ends it, and checks that no line of it is missing or there twice. */
async function withCounter(
  site: CrashSite,
  spot: Spot,
  action: FaultAction,
  kind: PodKind,
  use: (counter: Counter) => Promise<void>,
): Promise<void> {
  await site.begin(faultAt(spot, action));
  const pod = homeOf(site, kind);
  const name = randomUUID();
  const directory = path.join(pod.config.logDirectory, name);
  const file = path.join(directory, "0.log");
  try {
    const id = await createIn(pod, script(counting, { logPath: `${name}/0.log` }));
    await start(pod.daemon, id);
    await until("it has written", () => sizeOf(file) > 0);
    await use({ pod, id, directory, file });
    await stop(pod.daemon, id, 20);
    await endContainer(site, pod, id);
    checkWhole(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function checkWhole(directory: string): void {
  const names = readdirSync(directory).toSorted();
  assert.deepEqual(
    names.filter((name) => !name.startsWith("0.log")),
    [],
  );
  const inOrder = [...names.filter((name) => name !== "0.log"), "0.log"];
  const records = inOrder
    .map((name) => path.join(directory, name))
    .flatMap((file) => (existsSync(file) ? logLines(file) : []));
  const text = records.map((each) => `${each.text}${each.tag === "F" ? "\n" : ""}`).join("");
  const lines = text.trimEnd().split("\n");
  assert.deepEqual(lines, [...lines.slice(0, -1).map((_, n) => String(n + 1)), "end"]);
}

async function reopen({ pod, id }: Counter): Promise<void> {
  await pod.daemon.client.runtime.reopenContainerLog({ containerId: id });
}

/** 0 for a file that does not exist. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
