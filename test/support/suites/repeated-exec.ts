/** Runs many commands in a container, one after another, and samples what the daemon holds. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { DaemonMemory } from "../daemon-memory.ts";
import { countDescriptors, type Sample, takeSample } from "../growth.ts";
import { withLeakCheck } from "../leaks.ts";
import { closePod, exec, Node, openPod, runIn, script } from "./containers.ts";
import { bare, leakOptions, until } from "./pods.ts";
import { openExec, transports } from "./streams.ts";
import type { TestDaemon } from "../daemon.ts";

/** How many commands run, and after how many a sample is taken. As many run before the first sample. */
export interface Row {
  readonly times: number;
  readonly sampleEvery: number;
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
  const options = { transport, stdin: false, keeps: false };
  const client = await openExec(daemon, id, ["/bin/sh", "-c", text], options);
  assert.equal(await client.exitCode(), at % 100);
  assert.equal(client.bytes, hugeBytes);
};

/**
 * Fails when an answer is wrong, when anything is left behind, or when a sample has more descriptors than the
 * first one. Returns the samples, and by how many bytes the peak of memory exceeded that of the first sample.
 */
export async function inARow(
  t: TestContext,
  once: Once,
  { times, sampleEvery }: Row,
): Promise<{ readonly samples: readonly Sample[]; readonly peakBytes: number }> {
  await using node = await Node.startWithBusybox();
  const { daemon } = node;
  const pod = await openPod(daemon, bare());
  const id = await runIn(pod, script("while :; do sleep 100000; done"));
  using memory = await DaemonMemory.attach(daemon.pid);
  let at = 0;
  const some = async (): Promise<void> => {
    for (let left = sampleEvery; left > 0; left--, at++) await once(daemon, id, at);
  };
  // Compiles the code, opens the threads, fills the caches.
  await some();
  const samples: Sample[] = [];
  let [firstBytes, mostBytes] = [0, 0];
  const memoryOf = (name: string): number =>
    1024 * Number(new RegExp(`${name}:\\s+(\\d+)`).exec(statusOf(daemon.pid))?.[1]);
  await withLeakCheck(t, leakOptions(daemon), async () => {
    samples.push(await takeSample(daemon.pid, memory, 0));
    firstBytes = memoryOf("VmRSS");
    // The peak counts from here on (proc_pid_clear_refs(5)).
    writeFileSync(`/proc/${daemon.pid}/clear_refs`, "5");
    for (let done = sampleEvery; done <= times; done += sampleEvery) {
      await some();
      // The descriptors of the last command are closed a moment after its answer.
      await until("its descriptors are as many as at first", () => {
        return countDescriptors(daemon.pid) <= (samples[0]?.fds ?? 0);
      });
      samples.push(await takeSample(daemon.pid, memory, done));
    }
    mostBytes = memoryOf("VmHWM");
  });
  for (const sample of samples) t.diagnostic(JSON.stringify(sample));
  await closePod(pod);
  return { samples, peakBytes: mostBytes - firstBytes };
}

function statusOf(pid: number): string {
  return readFileSync(`/proc/${pid}/status`, "utf8");
}
