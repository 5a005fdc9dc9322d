/** Leases: pods go with the client that ran them, however it ends, and stay while davit restarts. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, describe, test } from "node:test";
import { CriClient } from "../../src/client/cri-client.ts";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import { bridgeConflist, ScriptedPlugin } from "../support/cni.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { Davit } from "../support/suites/cli.ts";
import { createIn, Node, openPod, script } from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  launchDaemon,
  leakless,
  leaklessAcross,
  listIds,
  NOTREADY,
  pod,
  READY,
  removePod,
  runPod,
  runtimeFact,
  statusOf,
  until,
} from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-lease-"));
const ipamDir = path.join(directory, "ipam");
const plugin = new ScriptedPlugin(directory);
let node: Node;
let daemon: TestDaemon;
let open: () => void = () => undefined;
const served = (): TestDaemon => daemon;

before(async () => {
  const { plugins, ...list } = bridgeConflist({ ipamDir });
  node = await Node.startWithBusybox({
    conflist: { ...list, plugins: [{ type: plugin.type }, ...plugins] },
    pluginDirs: [plugin.binDir],
  });
  ({ daemon } = node);
  // The first pod creates the bridge, which stays.
  await removePod(daemon, await runPod(daemon, pod()));
});
afterEach(() => {
  open();
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

interface Held {
  readonly id: string;
  readonly pods: number;
}

/** A process that holds leases; it is killed at the end of the scope. */
class Holder implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor({ count = 1, graceSeconds = 0, id = "" } = {}) {
    const program = path.join(import.meta.dirname, "../support/lease-holder.ts");
    const words = [daemon.paths.socket, String(count), String(graceSeconds), id];
    const stdio = ["ignore", "pipe", "inherit"] as const;
    this.#child = spawn(process.execPath, [program, ...words], {
      stdio: [...stdio],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    assert.ok(this.#child.stdout !== null);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async next(): Promise<Held & { readonly error?: string }> {
    const { value } = (await this.#lines.next()) as { readonly value?: string };
    assert.ok(value !== undefined, "the client has ended");
    return JSON.parse(value) as Held;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

const labelled = (id: string) => ({ labels: { "davit.dev/lease": id } });
const leased = (id: string): PodSandboxConfig => pod({}, labelled(id));
/** The addresses that host-local has assigned. */
function takenAddresses(): readonly string[] {
  const assigned = path.join(ipamDir, "davit-test");
  return existsSync(assigned) ? readdirSync(assigned).filter((name) => /^[0-9.]+$/.test(name)) : [];
}

const nothingRuns = (ms?: number): Promise<unknown> =>
  until("the pods are gone", async () => (await listIds(daemon)).length === 0, ms);

describe("a lease whose client is killed", () => {
  test(
    "takes its pods with it, with containers and addresses, and no others",
    leakless(served, async () => {
      await using holder = new Holder();
      const { id, pods } = await holder.next();
      assert.equal(pods, 0);
      const first = await openPod(daemon, leased(id));
      const container = await createIn(first, script("sleep 1000"));
      await daemon.client.runtime.startContainer({ containerId: container });
      await createIn(first, script("never started"));
      await runPod(daemon, leased(id));
      const other = await runPod(daemon, pod());
      const from = daemon.lines.length;
      await holder.kill();
      await until("the pods are gone", async () => (await listIds(daemon)).length === 1);
      assert.deepEqual(await listIds(daemon), [other]);
      assert.equal((await statusOf(daemon, other)).state, READY);
      assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
      assert.equal(takenAddresses().length, 1);
      const line = await daemon.waitForLine(/because its lease ended/, from);
      assert.equal(line.fields["lease"], id);
      const { out } = await new Davit(daemon).run("why", first.config.metadata?.name ?? "");
      assert.match(out, /was removed .* because its lease ended/);
      await removePod(daemon, other);
    }),
  );

  test(
    "lets containers end by themselves in its grace period",
    leakless(served, async () => {
      await using holder = new Holder({ graceSeconds: 60 });
      const { id } = await holder.next();
      const first = await openPod(daemon, leased(id));
      const text = "trap 'sleep 1; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
      const containerId = await createIn(first, script(text));
      await daemon.client.runtime.startContainer({ containerId });
      await daemon.client.runtime.execSync({ containerId, cmd: ["sleep", "0.3"], timeout: 10n });
      await holder.kill();
      await until("it is told", async () => (await statusOf(daemon, first.id)).state === NOTREADY);
      const late = createIn(first, script("true"));
      await assert.rejects(late, failsWith(code.failedPrecondition, /its lease ended/));
      await nothingRuns();
    }),
  );

  test(
    "of a hundred leases, each takes its own",
    leakless(served, async () => {
      await using killed = new Holder({ count: 100 });
      await using kept = new Holder();
      const ids: string[] = [];
      for (let at = 0; at < 100; at++) ids.push((await killed.next()).id);
      assert.equal(new Set(ids).size, 100);
      await Promise.all(ids.map((id) => runPod(daemon, bare(labelled(id)))));
      const other = await runPod(daemon, bare(labelled((await kept.next()).id)));
      await killed.kill();
      await until("all but one are gone", async () => (await listIds(daemon)).length === 1);
      assert.deepEqual(await listIds(daemon), [other]);
      await kept.kill();
      await nothingRuns();
    }),
  );
});

describe("a call of Hold", () => {
  const held = async (client: CriClient, signal: AbortSignal, id = "") => {
    const answers = client.leases.hold({ id, graceSeconds: 0 }, { signal });
    const stream = answers[Symbol.asyncIterator]();
    const { value } = (await stream.next()) as { readonly value: Held };
    return { lease: value, over: stream.next() };
  };

  test(
    "that is canceled ends the lease, and so does a connection that is closed",
    leakless(served, async () => {
      const cancel = new AbortController();
      const { lease, over } = await held(daemon.client, cancel.signal);
      await runPod(daemon, leased(lease.id));
      cancel.abort();
      await assert.rejects(over);
      await nothingRuns();

      const client = new CriClient(daemon.paths.socket);
      const second = await held(client, new AbortController().signal);
      await runPod(daemon, leased(second.lease.id));
      const again = daemon.client.leases.hold({ id: second.lease.id })[Symbol.asyncIterator]();
      await assert.rejects(again.next(), failsWith(code.alreadyExists, /another call holds it/));
      client.close();
      await assert.rejects(second.over);
      await nothingRuns();
      const gone = daemon.client.leases.hold({ id: second.lease.id })[Symbol.asyncIterator]();
      await assert.rejects(gone.next(), failsWith(code.notFound));
    }),
  );

  test(
    "that there is not refuses the pod, and makes nothing",
    leakless(served, async () => {
      for (const id of ["", "0".repeat(32)]) {
        const run = runPod(daemon, leased(id));
        await assert.rejects(run, failsWith(code.failedPrecondition, /Leases\/Hold/));
      }
      assert.deepEqual(await listIds(daemon), []);
    }),
  );
});

describe("a pod that is being created when its lease ends", () => {
  for (const leaves of [false, true]) {
    test(
      `is undone while its network is made${leaves ? ", also if its caller has left" : ""}`,
      leakless(served, async () => {
        await using holder = new Holder();
        const { id } = await holder.next();
        open = plugin.block("ADD");
        const before = plugin.calls("ADD").length;
        const caller = new CriClient(daemon.paths.socket);
        const run = caller.runtime.runPodSandbox({ config: leased(id) });
        const failed = assert.rejects(run);
        await plugin.waitForCalls("ADD", before + 1);
        if (leaves) caller.close();
        await holder.kill();
        await failed;
        caller.close();
        open();
        await until("nothing is in flight", async () => {
          const facts = ["inflight", "heldCreates", "unfinishedRemovals"];
          const all = await Promise.all(facts.map((fact) => runtimeFact(daemon, fact)));
          return all.flat().length === 0;
        });
        assert.deepEqual(await listIds(daemon), []);
        assert.deepEqual(takenAddresses(), []);
      }),
    );
  }

  test(
    "is removed if it was finished for a caller that had left",
    leakless(served, async () => {
      await using holder = new Holder();
      const { id } = await holder.next();
      open = plugin.block("ADD");
      const before = plugin.calls("ADD").length;
      const caller = new CriClient(daemon.paths.socket);
      const failed = assert.rejects(caller.runtime.runPodSandbox({ config: leased(id) }));
      await plugin.waitForCalls("ADD", before + 1);
      caller.close();
      await failed;
      open();
      const held = async () => ((await runtimeFact(daemon, "heldCreates")) as string[]).length;
      await until("it waits for a retry", async () => (await held()) === 1);
      await holder.kill();
      await until("it is removed", async () => (await held()) === 0);
      await until("its address is free", () => takenAddresses().length === 0);
    }),
  );
});

test(
  "a removal that hangs is named, and finished later",
  leakless(served, async () => {
    await using holder = new Holder();
    const { id } = await holder.next();
    const sandbox = await runPod(daemon, leased(id));
    plugin.on("DEL", { does: "fail", error: { code: 100, msg: "stuck" } });
    open = () => {
      plugin.on("DEL", { does: "succeed" });
    };
    const from = daemon.lines.length;
    await holder.kill();
    await daemon.waitForLine(/failed to clean up; will retry/, from);
    assert.deepEqual(await runtimeFact(daemon, "unfinishedRemovals"), [sandbox]);
    const [failed] = (await runtimeFact(daemon, "failedEnds")) as { readonly lastError: string }[];
    assert.match(failed?.lastError ?? "", /stuck/);
    open();
    await nothingRuns(30_000);
    await until(
      "its network is removed",
      async () => ((await runtimeFact(daemon, "pendingNetworkRemovals")) as unknown[]).length === 0,
      30_000,
    );
  }),
);

/** Pods of two leases, of which the first one is held again after a restart. */
interface AcrossRestart {
  readonly held: Held;
  readonly lost: Held;
  readonly kept: string;
  readonly unheld: string;
}

/** Runs the pods, and then `restart` while their leases are held. */
async function restarted(
  restart: (pods: AcrossRestart, client: Holder) => Promise<void>,
): Promise<AcrossRestart> {
  await using first = new Holder();
  await using second = new Holder();
  const [held, lost] = [await first.next(), await second.next()];
  const kept = await runPod(daemon, leased(held.id));
  const unheld = await runPod(daemon, leased(lost.id));
  const pods = { held, lost, kept, unheld };
  await restart(pods, first);
  return pods;
}

/** Holds the first lease again: its pod stays until that lease ends, and the others go after 30 s. */
async function othersGo({ held, lost, kept }: AcrossRestart): Promise<void> {
  await using third = new Holder({ id: held.id });
  assert.deepEqual(await third.next(), { id: held.id, pods: 1 });
  const more = runPod(daemon, leased(lost.id));
  await assert.rejects(more, failsWith(code.failedPrecondition));
  await until("the others are gone", async () => (await listIds(daemon)).length === 1, 60_000);
  assert.deepEqual(await listIds(daemon), [kept]);
  assert.equal((await statusOf(daemon, kept)).state, READY);
  await third.kill();
  await nothingRuns();
}

const listed = async (): Promise<readonly string[]> => (await listIds(daemon)).toSorted();

describe("a restart of davit keeps the pods of leases: of one that is held again until it ends, of others for 30 s", () => {
  test(
    "by stop",
    leaklessAcross(served, async () => {
      const pods = await restarted(async ({ kept, unheld }, client) => {
        const began = performance.now();
        assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
        // The open calls do not delay it: the server waits 5 s for calls that do not end.
        assert.ok(performance.now() - began < 5_000);
        assert.match((await client.next()).error ?? "", /shutting down/);
        await launchDaemon(daemon);
        assert.deepEqual(await listed(), [kept, unheld].sort());
      });
      await othersGo(pods);
    }),
  );

  test(
    "by kill -9, twice, and finishes the removals that it interrupted",
    leaklessAcross(served, async () => {
      const points = ["stop-pod-sandbox/network-removed", "remove-pod-sandbox/shut-down"];
      const interrupted: string[] = [];
      await daemon.stop();
      await launchDaemon(daemon, { DAVIT_FAULTS: `${points[0]}=kill` });
      const pods = await restarted(async ({ kept, unheld }) => {
        for (const [at] of points.entries()) {
          await using holder = new Holder();
          const { id } = await holder.next();
          const removed = await openPod(daemon, leased(id));
          const containerId = await createIn(removed, script("sleep 1000"));
          await daemon.client.runtime.startContainer({ containerId });
          await holder.kill();
          assert.equal((await daemon.exited).signal, "SIGKILL");
          interrupted.push(removed.id);
          const next = points[at + 1];
          await launchDaemon(daemon, next === undefined ? {} : { DAVIT_FAULTS: `${next}=kill` });
          assert.deepEqual(await listed(), [kept, unheld, ...interrupted].sort());
        }
      });
      await othersGo(pods);
      assert.deepEqual(takenAddresses(), []);
    }),
  );
});
