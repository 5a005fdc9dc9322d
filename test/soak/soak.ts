/**
 * The soak: a node under a load of all kinds, whose daemon is restarted and killed every few minutes, for as long as
 * DAVIT_SOAK_MINUTES says, or for as many pods as DAVIT_SOAK_PODS says. Run it by `npm run test:soak`.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isStrictHost } from "../support/belongs.ts";
import { Churn } from "../support/churn.ts";
import { DaemonMemory } from "../support/daemon-memory.ts";
import { countDescriptors } from "../support/growth.ts";
import { portmapKeeps, takeSnapshot, withLeakCheck } from "../support/leaks.ts";
import { chooseSeed, Random } from "../support/random.ts";
import { podOf, untilQuiet } from "../support/suites/churn.ts";
import { busybox, Node } from "../support/suites/containers.ts";
import { launchDaemon, leakOptions } from "../support/suites/pods.ts";
import { SoakLoad } from "./load.ts";
import { grows, slopeOf, type SoakSample } from "./slopes.ts";

const podsInAll = Number(process.env["DAVIT_SOAK_PODS"] ?? Infinity);
const minutes = Number(process.env["DAVIT_SOAK_MINUTES"] ?? 60);
const size = Number.isFinite(podsInAll) ? `${podsInAll} pods` : `${minutes} minutes`;
const roundMinutes = Math.min(5, minutes / 2);
const samplesOfRound = 6;
const parallel = 8;
const batch = 24;

/** What a thousand pods may add. Of a daemon: as in test/faults/churn.faults.ts. */
const ofDaemon = { heap: 512_000, resident: 32 << 20, fds: 10 };
/** Of the node: nothing, and of the disk what names and times of directories take. */
const ofNode = {
  processes: 1,
  mounts: 1,
  namespaces: 1,
  cgroups: 1,
  links: 1,
  rules: 1,
  diskKiB: 1024,
  // A cgroup or a network namespace that is left has more than 4 KiB. Other programs of the machine count too.
  slabKiB: isStrictHost() ? 4096 : Infinity,
};

function say(line: string): void {
  const file = process.env["DAVIT_SOAK_OUTPUT"];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

const sum = (counts: ReadonlyMap<string, number>): number =>
  [...counts.values()].reduce((total, count) => total + count, 0);

/** What the idle node has now. */
async function sampleOf(
  { daemon }: Node,
  memory: DaemonMemory,
  at: Pick<SoakSample, "life" | "pods">,
): Promise<SoakSample> {
  const found = await takeSnapshot(leakOptions(daemon));
  const excludes = ["--exclude=history", "--exclude=davit.db*"];
  const du = execFileSync("du", ["-sk", ...excludes, daemon.paths.root], { encoding: "utf8" });
  const values = {
    ...(await memory.use()),
    fds: countDescriptors(daemon.pid),
    processes: sum(found.process),
    mounts: sum(found.mount),
    namespaces: sum(found.namespace),
    cgroups: sum(found.cgroup),
    links: sum(found.link),
    rules: sum(found.iptables) + sum(found.nft),
    diskKiB: Number.parseInt(du, 10),
    slabKiB: await unreclaimableSlabKiB(),
  };
  return { ...at, values };
}

/**
 * Memory of the kernel's own objects that are in use, of the whole machine (SUnreclaim, proc_meminfo(5)). The kernel keeps
 * a removed memory cgroup for as long as a page or an inode that is charged to it is cached, about 60 KiB for each pod;
 * so the caches are dropped where the machine is the test's own.
 */
async function unreclaimableSlabKiB(): Promise<number> {
  if (isStrictHost()) {
    execFileSync("sync");
    writeFileSync("/proc/sys/vm/drop_caches", "3");
    await sleep(1000); // The kernel frees the cgroups a moment later.
  }
  const [, kib = ""] =
    /^SUnreclaim:\s+(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8")) ?? [];
  return Number(kib);
}

test(`${size} of everything leave nothing, and nothing grows`, async (t) => {
  const seed = chooseSeed();
  say(`seed ${seed} (DAVIT_TEST_SEED)`);
  await using node = await Node.startWithBusybox({
    config: { runtime: { retry_hold_seconds: 2 } },
    images: { gc_unused_layers_seconds: 1 },
  });
  const { daemon } = node;
  const logs = path.join(daemon.paths.directory, "pod-logs");
  const run = new Churn({
    client: daemon.client,
    random: new Random(seed),
    image: busybox,
    podConfig: (random, at) => podOf(random, at, logs),
  });
  const { ledger } = run;
  // Creates the bridge, fills the caches, and lets portmap make its chains.
  await run.lives(batch * 2, parallel);
  await untilQuiet(node, []);

  const samples: SoakSample[] = [];
  const { daemonPid: _, allow, ...options } = leakOptions(daemon);
  const serving = [new RegExp(`serve --config ${daemon.paths.directory}/`)];
  // The second file of the history, which has a limit of its own.
  const file = [/\/history\/operations\.old\.jsonl$/];
  const allowed = { ...allow, ...portmapKeeps, process: serving, file };
  await withLeakCheck(t, { ...options, allow: allowed }, async () => {
    const load = await SoakLoad.open(node, ledger);
    let pods = batch * 2;
    const end = Number.isFinite(podsInAll) ? Infinity : Date.now() + minutes * 60_000;
    const isOver = (): boolean => Date.now() >= end || pods >= podsInAll;
    for (let life = 0; !isOver(); life++) {
      // With `using`, the inspector of each daemon is closed before it ends.
      const ofLife: SoakSample[] = [];
      {
        using memory = await DaemonMemory.attach(daemon.pid);
        const interval = (roundMinutes * 60_000) / samplesOfRound;
        for (let n = 0; n < samplesOfRound && !isOver(); n++) {
          const over = new AbortController();
          const others = load.run(over.signal);
          const until = Math.min(end, Date.now() + interval);
          do {
            await run.lives(batch, parallel);
            pods += batch;
          } while (Date.now() < until && !isOver());
          over.abort();
          await others;
          await load.removeImages();
          await untilQuiet(node, [load.sandboxId]);
          // Unused layers are removed one second after their last use.
          await sleep(2_000);
          const sample = await sampleOf(node, memory, { life, pods });
          say(`${pods} pods, daemon ${life}: ${JSON.stringify(sample.values)}`);
          ofLife.push(sample);
        }
      }
      // The first one compiled code and filled caches.
      samples.push(...ofLife.slice(1));
      pods += await restart(node, run, load, life);
    }
    await load.removeImages();
    await load.close();
    rmSync(logs, { recursive: true, force: true });
    say(`${pods} pods, ${JSON.stringify(load.done)}`);
  });
  say(ledger.summary());
  const growing = report(samples);
  for (const violation of ledger.violations) say(`violation: ${violation}`);
  assert.deepEqual(ledger.violations, [], `seed ${seed}`);
  assert.deepEqual(growing, []);
});

/** Ends the daemon in the middle of the load, every other time by SIGKILL, and starts the next one. How many pods lived. */
async function restart(node: Node, run: Churn, load: SoakLoad, life: number): Promise<number> {
  const { daemon } = node;
  const { ledger } = run;
  const over = new AbortController();
  const others = load.run(over.signal);
  const lives = run.lives(batch, parallel);
  await sleep(1_000);
  using _outage = ledger.outage();
  if (life % 2 === 0) await daemon.kill9();
  else await daemon.stop();
  await launchDaemon(daemon);
  await lives;
  over.abort();
  await others;
  await load.removeImages();
  await removeOrphans(node, load.sandboxId);
  await untilQuiet(node, [load.sandboxId]);
  return batch;
}

/**
 * Removes sandboxes of pods that are gone, as kubelet does: a daemon that was killed may have finished one whose caller
 * had left, and the next daemon lists it.
 */
async function removeOrphans({ daemon }: Node, kept: string): Promise<void> {
  const { runtime } = daemon.client;
  const { items } = await runtime.listPodSandbox({});
  for (const { id } of items.filter((item) => item.id !== kept)) {
    await runtime.stopPodSandbox({ podSandboxId: id });
    await runtime.removePodSandbox({ podSandboxId: id });
    say(`removed sandbox ${id}, which was finished for nobody when the daemon ended`);
  }
}

/** Prints all slopes, and returns what grows. */
function report(samples: readonly SoakSample[]): readonly string[] {
  const limits = [
    ...Object.entries(ofDaemon).map(([name, limit]) => [name, limit, true] as const),
    ...Object.entries(ofNode).map(([name, limit]) => [name, limit, false] as const),
  ];
  return limits.flatMap(([name, limit, isOfDaemon]) => {
    const slope = slopeOf(samples, name, isOfDaemon);
    const isGrowing = grows(slope, limit);
    const numbers = `${slope.per1000.toFixed(2)} +- ${slope.error.toFixed(2)}`;
    say(`${name}: ${numbers} for 1000 pods, allowed ${limit}${isGrowing ? ": GROWS" : ""}`);
    return isGrowing ? [`${name} grows by ${numbers} for 1000 pods`] : [];
  });
}
