/**
 * Scenarios of crash tests at one spot of a streaming operation: the daemon dies or the operation fails. A command
 * ends with its client. Containers and ports of pods are not affected.
 */
import assert from "node:assert/strict";
import { RUNNING, sh } from "../suites/containers.ts";
import { openAttach, openExec, openForward } from "../suites/streams.ts";
import { runtimeFact, until } from "../suites/pods.ts";
import type { CrashSite, PodKind } from "./sites.ts";
import { type Spot, stageOf } from "./spots.ts";
import { beginWithContainer, checkNoCommand } from "./container-steps.ts";
import { checkContainer, endContainer, processesOf } from "./containers.ts";
import type { TestDaemon } from "../daemon.ts";
import { recoverAfter, type Recoveries } from "./pod-scenarios.ts";

/** Takes a client to `spot`. Resolves when the client got the result, or lost its connection. */
async function streamTo(daemon: TestDaemon, id: string, spot: Spot): Promise<string> {
  const [operation] = spot.point.split("/");
  const stage = stageOf(spot.point);
  if (operation === "attach") {
    const client = await openAttach(daemon, id);
    // An attach reaches its answer when its container has ended.
    if (stage === "answer") {
      await until("it is attached", async () => {
        const views = (await runtimeFact(daemon, "inflight")) as Record<string, unknown>[];
        return views.some(
          (view) => view["operation"] === "attach" && view["stage"] === "wait-for-end",
        );
      });
      await daemon.client.runtime.stopContainer({ containerId: id });
    }
    return told(client.remote.end);
  }
  const lasts = /(start-process|wait-for-end|kill-command)$/.test(spot.point);
  // It ends only by a kill.
  const ignorant = "trap '' HUP; echo on; while :; do sleep 1000; done";
  const command = lasts ? ["/bin/sh", "-c", ignorant] : ["echo", "hi"];
  const client = await openExec(daemon, id, command);
  if (stage !== "kill-command") return told(client.remote.end);
  await client.says("on");
  client.remote.close();
  // No client gets an answer here: wait until the daemon is at the stage, or has died there.
  const exit = await Promise.race([daemon.exited, killed(daemon)]);
  return JSON.stringify(exit ?? "killed");
}

/** Resolves when no exec runs any more. */
async function killed(daemon: TestDaemon): Promise<undefined> {
  await until("no exec is under way", async () => {
    try {
      const views = (await runtimeFact(daemon, "inflight")) as Record<string, unknown>[];
      return views.every((view) => view["operation"] !== "exec");
    } catch {
      return false; // It is dead, which somebody else waits for.
    }
  });
  return undefined;
}

async function told(end: Promise<unknown>): Promise<string> {
  try {
    return JSON.stringify(await end);
  } catch (error) {
    return String(error);
  }
}

/** The daemon dies at `spot` of an exec or attach with a connected client. */
export async function killStream(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  recoveries: Recoveries = [],
): Promise<void> {
  const { pod, id } = await beginWithContainer(site, spot, "kill", kind);
  const before = processesOf(pod, id);
  await site.killedBy(spot, streamTo(site.daemon, id, spot));
  await recoverAfter(site, recoveries);
  await site.checkBystanders();
  if (spot.point !== "attach/answer") {
    await checkContainer(pod, id, RUNNING);
    await checkNoCommand(pod, id, before);
    assert.equal(await sh(site.daemon, id, "echo again"), "again");
  }
  await endContainer(site, pod, id);
}

/** An exec or attach fails at `spot`: its client gets the reason, and the next one is served. */
export async function throwStream(site: CrashSite, spot: Spot, kind: PodKind): Promise<void> {
  const { daemon } = site;
  const { pod, id } = await beginWithContainer(site, spot, "throw", kind);
  const before = processesOf(pod, id);
  const end = await streamTo(daemon, id, spot);
  // A process that cannot be killed at once is killed again. Its client has disconnected.
  if (stageOf(spot.point) !== "kill-command") assert.match(end, /a fault was injected/);
  if (spot.point !== "attach/answer") {
    await checkNoCommand(pod, id, before);
    const again = await openExec(daemon, id, ["echo", "again"]);
    assert.equal(await again.exitCode(), 0);
    assert.equal(again.stdout, "again\n");
  }
  await endContainer(site, pod, id);
}

/** The daemon dies, or fails, at `spot` of a connection to a port. */
export async function strikeForward(
  site: CrashSite,
  spot: Spot,
  kind: PodKind,
  action: "kill" | "throw",
): Promise<void> {
  const { pod, id } = await beginWithContainer(site, spot, action, kind);
  const before = processesOf(pod, id);
  const server = await openExec(site.daemon, id, ["nc", "-l", "-p", "4999"]);
  await until("it listens", async () =>
    (await sh(site.daemon, id, "netstat -ltn")).includes(":4999"),
  );
  const connect = async (): Promise<string> => {
    const forward = await openForward(site.daemon, pod.id);
    try {
      const { data, failure } = await forward.connect(4999);
      data.on("error", () => undefined);
      data.resume();
      data.end("hello");
      return (await Promise.race([failure, forward.closed.then(String)])) ?? "done";
    } finally {
      forward.close();
    }
  };
  if (action === "kill") {
    await site.killedBy(spot, connect());
    await recoverAfter(site, []);
  } else {
    assert.match(await connect(), /a fault was injected/);
    server.remote.close();
    await until("the next one is told how it is", async () => /refused/.test(await connect()));
  }
  await site.checkBystanders();
  await checkContainer(pod, id, RUNNING);
  await checkNoCommand(pod, id, before);
  await endContainer(site, pod, id);
}
