import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";

import { listMounts } from "../mount/mounts.ts";
import { patient } from "../../../test/support/patience.ts";

/** What each open descriptor of a process is, by number. A process may look at its own. */
export function openFds(pid: number | "self" = "self"): ReadonlyMap<number, string> {
  const dir = `/proc/${pid}/fd`;
  const found = new Map<number, string>();
  for (const name of readdirSync(dir)) {
    try {
      found.set(Number(name), readlinkSync(`${dir}/${name}`));
    } catch {
      // The descriptor by which the directory itself was read is gone by now.
    }
  }
  return found;
}

/** The pids of our children, zombies included, whichever thread started them. */
export function childPids(): readonly number[] {
  return readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "latin1")
      .split(" ")
      .map(Number)
      .filter(Boolean),
  );
}

/** The first thing that a stream gives, as text; empty when it ends without. */
export async function firstText(stream: Readable | undefined): Promise<string> {
  for await (const chunk of stream?.iterator({ destroyOnReturn: false }) ?? [])
    return String(chunk);
  return "";
}

/** Lets the event loop turn until the condition holds; throws, naming it, when it takes too long. */
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
