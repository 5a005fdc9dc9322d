/** Commands in a container, many of them one after another, and what the daemon holds on the way. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { DaemonMemory } from "../daemon-memory.ts";
import { countDescriptors, type Look, lookAt } from "../growth.ts";
import { withLeakCheck } from "../leaks.ts";
import { closePod, exec, Node, openPod, runIn, script } from "./containers.ts";
import { bare, leakOptions, until } from "./pods.ts";
import { openExec, transports } from "./streams.ts";
import type { TestDaemon } from "../daemon.ts";

/** How many there are, and after how many the daemon is looked at; as many come before the first look. */
export interface Row {
  readonly times: number;
  readonly lookEvery: number;
}

/** Runs one command; `at` counts them. */
type Once = (daemon: TestDaemon, containerId: string, at: number) => Promise<void>;

/** ExecSync of a command that says its number. */
export const saysItsNumber: Once = async (daemon, id, at) => {
  const said = await exec(daemon, id, ["echo", String(at)]);
  assert.deepEqual(said, { stdout: `${at}\n`, stderr: "", exitCode: 0 });
};

const hugeBytes = 10_000_000;

/** Exec of a command that writes 10 MB, by both transports in turn. */
export const saysMuch: Once = async (daemon, id, at) => {
  const text = `dd if=/dev/zero bs=10000 count=${hugeBytes / 10_000} 2>/dev/null; exit ${at % 100}`;
  const transport = transports[at % transports.length] ?? "spdy";
  const wish = { transport, stdin: false, keeps: false };
  const client = await openExec(daemon, id, ["/bin/sh", "-c", text], wish);
  assert.equal(await client.exitCode(), at % 100);
  assert.equal(client.bytes, hugeBytes);
};

/**
 * Fails when a command is not answered as it must be, when anything is left, or when the daemon has more
 * descriptors at a look than at the first one. Gives what the daemon held on the way, and by how many bytes the memory that it had at any
 * moment exceeded that of the first look.
 */
export async function inARow(
  t: TestContext,
  once: Once,
  { times, lookEvery }: Row,
): Promise<{ readonly looks: readonly Look[]; readonly peakBytes: number }> {
  await using node = await Node.startWithBusybox();
  const { daemon } = node;
  const pod = await openPod(daemon, bare());
  const id = await runIn(pod, script("while :; do sleep 100000; done"));
  using memory = await DaemonMemory.attach(daemon.pid);
  let at = 0;
  const some = async (): Promise<void> => {
    for (let left = lookEvery; left > 0; left--, at++) await once(daemon, id, at);
  };
  // Compiles the code, opens the threads, fills the caches.
  await some();
  const looks: Look[] = [];
  let [firstBytes, mostBytes] = [0, 0];
  const memoryOf = (name: string): number =>
    1024 * Number(new RegExp(`${name}:\\s+(\\d+)`).exec(statusOf(daemon.pid))?.[1]);
  await withLeakCheck(t, leakOptions(daemon), async () => {
    looks.push(await lookAt(daemon.pid, memory, 0));
    firstBytes = memoryOf("VmRSS");
    // The peak counts from here on (proc_pid_clear_refs(5)).
    writeFileSync(`/proc/${daemon.pid}/clear_refs`, "5");
    for (let done = lookEvery; done <= times; done += lookEvery) {
      await some();
      // What the last command had is closed a moment after its answer.
      await until("its descriptors are as many as at first", () => {
        return countDescriptors(daemon.pid) <= (looks[0]?.fds ?? 0);
      });
      looks.push(await lookAt(daemon.pid, memory, done));
    }
    mostBytes = memoryOf("VmHWM");
  });
  for (const look of looks) t.diagnostic(JSON.stringify(look));
  await closePod(pod);
  return { looks, peakBytes: mostBytes - firstBytes };
}

function statusOf(pid: number): string {
  return readFileSync(`/proc/${pid}/status`, "utf8");
}
