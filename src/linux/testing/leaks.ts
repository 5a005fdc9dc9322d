import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";

import { listMounts } from "../mount/mounts.ts";
import { patient } from "../../../test/support/patience.ts";

/** The target of each open descriptor of a process, by number. */
export function openFds(pid: number | "self" = "self"): ReadonlyMap<number, string> {
  const dir = `/proc/${pid}/fd`;
  const found = new Map<number, string>();
  for (const name of readdirSync(dir)) {
    try {
      found.set(Number(name), readlinkSync(`${dir}/${name}`));
    } catch {
      // The descriptor of the directory itself is closed by now.
    }
  }
  return found;
}

/** The pids of the children of all threads, including zombies. */
export function childPids(): readonly number[] {
  return readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "latin1")
      .split(" ")
      .map(Number)
      .filter(Boolean),
  );
}

/** The first chunk of a stream as text; empty when the stream ends without one. */
export async function firstText(stream: Readable | undefined): Promise<string> {
  for await (const chunk of stream?.iterator({ destroyOnReturn: false }) ?? [])
    return String(chunk);
  return "";
}

/** Waits until the condition holds; throws an error that names it when it takes too long. */
export async function until(what: string, holds: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + patient(timeoutMs);
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await setImmediate();
  }
}

/** The mount points below a directory: other mounts of a host come and go by themselves. */
export async function mountsBelow(directory: string): Promise<readonly string[]> {
  const mounts = await listMounts();
  return mounts.map((each) => each.mountPoint).filter((path) => path.startsWith(`${directory}/`));
}
