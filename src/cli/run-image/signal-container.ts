import { readFileSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { member, readInfo } from "../output/cri-message.ts";
import type { Server } from "../server/session.ts";
import type { StopSignal } from "../stop-signals.ts";

// The time that the server may need to kill a container.
const killMs = 60_000;

/** Sends a signal to the main process of a container. Returns false if that is not possible from here. */
export async function signalContainer(
  { client, limit }: Server,
  containerId: string,
  signal: StopSignal,
): Promise<boolean> {
  try {
    const { info } = await client.runtime.containerStatus({ containerId, verbose: true }, limit());
    const pid = member(readInfo(info)["info"], "pid");
    // The pid may be that of another machine, or of a process that has ended.
    if (typeof pid !== "number" || pid <= 1 || !isOf(pid, containerId)) return false;
    return process.kill(pid, constants.signals[signal]);
  } catch {
    return false;
  }
}

/** Kills a container. */
export async function killContainer({ client, limit }: Server, containerId: string): Promise<void> {
  await client.runtime.stopContainer({ containerId, timeout: 0n }, limit(killMs));
}

function isOf(pid: number, containerId: string): boolean {
  return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(containerId);
}
