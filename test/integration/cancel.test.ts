/** RunPodSandbox whose caller disconnects: a retry gets the first sandbox, or the sandbox is removed. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { clone } from "@bufbuild/protobuf";
import { CriClient } from "../../src/client/cri-client.ts";
import { type PodSandboxConfig, PodSandboxConfigSchema } from "../../src/gen/runtime/v1/api_pb.ts";
import { bridgeConflist, type PluginCall, ScriptedPlugin } from "../support/cni.ts";
import { idOf } from "../support/crash/sites.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CONTAINER,
  code,
  endDaemon,
  failsWith,
  launchDaemon,
  leakless,
  listIds,
  mountAt,
  pinsOf,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  statusOf,
  until,
} from "../support/suites/pods.ts";

/** Long enough for the retries of a busy machine, short enough to wait for its end. */
const holdSeconds = 6;

const directory = mkdtempSync(path.join(tmpdir(), "davit-cancel-"));
const plugin = new ScriptedPlugin(directory);
let daemon: TestDaemon;
let open: () => void = () => undefined;
const served = (): TestDaemon => daemon;

before(async () => {
  const ipamDir = path.join(directory, "ipam");
  const { plugins, ...list } = bridgeConflist({ ipamDir });
  daemon = await startDaemon({
    conflist: { ...list, plugins: [{ type: plugin.type }, ...plugins] },
    pluginDirs: [plugin.binDir],
    config: { cni: { max_parallel: 16 }, runtime: { retry_hold_seconds: holdSeconds } },
  });
  // The first pod creates the bridge, which stays.
  await removePod(daemon, await runPod(daemon, pod()));
});
afterEach(() => {
  open();
});
after(async () => {
  await endDaemon(daemon);
  rmSync(directory, { recursive: true });
});

/** A create that is blocked in its ADD, and whose caller can disconnect. */
interface Held {
  readonly config: PodSandboxConfig;
  /** The id that the sandbox has, which only the plugins know by now. */
  readonly id: string;
  readonly answer: Promise<string>;
  readonly caller: AbortController;
}

/** Starts creates and blocks all of them in their ADD until `open` is called. */
async function beginHeldUp(
  configs: readonly PodSandboxConfig[],
  then?: Parameters<ScriptedPlugin["block"]>[1],
): Promise<readonly Held[]> {
  const earlier = plugin.calls("ADD").length;
  open = plugin.block("ADD", then);
  const started = configs.map((config) => {
    const caller = new AbortController();
    const { signal } = caller;
    const call = daemon.client.runtime.runPodSandbox({ config }, { signal });
    const answer = call.then(({ podSandboxId }) => podSandboxId);
    answer.catch(() => undefined);
    return { config, answer, caller };
  });
  const calls = await plugin.waitForCalls("ADD", earlier + configs.length, 30_000);
  return started.map((each) => ({ ...each, id: idIn(calls, each.config) }));
}

/** The sandbox that the plugin was called for, for this pod; the newest one. */
function idIn(calls: readonly PluginCall[], config: PodSandboxConfig): string {
  const uid = `K8S_POD_UID=${config.metadata?.uid ?? ""}`;
  const call = calls.findLast(({ env }) => env["CNI_ARGS"]?.split(";").includes(uid));
  assert.ok(call !== undefined, `no ADD for pod ${uid}`);
  return call.env["CNI_CONTAINERID"] ?? "";
}

async function cancel({ caller, answer }: Held): Promise<void> {
  caller.abort();
  await assert.rejects(answer, failsWith(1));
}

/** Resolves when no create is in progress. */
async function allFinished(): Promise<void> {
  await until("no create is under way", async () => {
    const views = await runtimeFact(daemon, "inflight");
    return Array.isArray(views) && views.length === 0;
  });
}

function isThere(id: string): boolean {
  return mountAt(pinsOf(daemon, id).net) !== undefined;
}

/** Resolves when a sandbox was removed after its hold time. */
async function takenBack(id: string): Promise<void> {
  await until(`${id} is taken back`, () => !isThere(id), holdSeconds * 1000 + 10_000);
  await until(`${id} is removed`, async () => {
    const owned = await runtimeFact(daemon, "unfinishedRemovals");
    return Array.isArray(owned) && !owned.includes(id);
  });
}

/** The same pod attempt in a different request. */
function otherRequest(config: PodSandboxConfig): PodSandboxConfig {
  const other = clone(PodSandboxConfigSchema, config);
  other.annotations["davit.test/other"] = "yes";
  return other;
}

const pods = (count: number): readonly PodSandboxConfig[] =>
  Array.from({ length: count }, (_, at) => pod({ pid: at % 2 === 0 ? POD : CONTAINER }));

test(
  "of ten cancelled creates, five are retried and get the first id, and five are removed after the hold time",
  leakless(served, async () => {
    const held = await beginHeldUp(pods(10));
    await Promise.all(held.map(cancel));
    const [joins, retries, lost] = [held.slice(0, 2), held.slice(2, 5), held.slice(5)];

    // During its create a pod is not listed. An equal request joins, and a different one fails with the stage.
    const joined = Promise.all(joins.map(({ config }) => runPod(daemon, config)));
    joined.catch(() => undefined);
    for (const { config } of held.slice(0, 6)) {
      const refused = failsWith(code.failedPrecondition, /different request.* stage add-network/);
      await assert.rejects(runPod(daemon, otherRequest(config)), refused);
    }
    assert.deepEqual(await listIds(daemon), []);
    const addsBefore = plugin.calls("ADD").length;

    open();
    assert.deepEqual(
      await joined,
      joins.map(({ id }) => id),
    );
    await allFinished();
    for (const { id, config } of retries) assert.equal(await runPod(daemon, config), id);
    assert.equal(plugin.calls("ADD").length, addsBefore, "a retry made a sandbox of its own");
    for (const { id, config } of lost) {
      assert.ok(isThere(id), "what nobody has asked for yet is not held");
      await assert.rejects(statusOf(daemon, id), failsWith(code.notFound));
      const refused = failsWith(
        code.failedPrecondition,
        /a different request, which disconnected, created it/,
      );
      await assert.rejects(runPod(daemon, otherRequest(config)), refused);
    }
    const kept = [...joins, ...retries];
    const ids = kept.map(({ id }) => id).toSorted();
    assert.deepEqual([...(await listIds(daemon))].toSorted(), ids);

    for (const { id } of lost) await takenBack(id);
    assert.deepEqual([...(await listIds(daemon))].toSorted(), ids);
    for (const { id } of kept) {
      assert.equal((await statusOf(daemon, id)).state, READY, "a claimed one was taken back");
    }

    // Their names are free, for the same request and for another.
    for (const [at, { id, config }] of lost.slice(0, 2).entries()) {
      const again = await runPod(daemon, at === 0 ? config : otherRequest(config));
      assert.notEqual(again, id);
      await removePod(daemon, again);
    }
    for (const { id } of kept) await removePod(daemon, id);
  }),
);

describe("a caller goes away", () => {
  test(
    "by its deadline",
    leakless(served, async () => {
      const [config] = pods(1);
      assert.ok(config !== undefined);
      const earlier = plugin.calls("ADD").length;
      open = plugin.block("ADD");
      const call = daemon.client.runtime.runPodSandbox({ config }, { timeoutMs: 500 });
      await assert.rejects(call, failsWith(code.deadlineExceeded));
      const id = idIn(await plugin.waitForCalls("ADD", earlier + 1), config);
      open();
      assert.equal(await runPod(daemon, config), id);
      await removePod(daemon, id);
    }),
  );

  test(
    "with its connection",
    leakless(served, async () => {
      const [config] = pods(1);
      assert.ok(config !== undefined);
      const earlier = plugin.calls("ADD").length;
      open = plugin.block("ADD");
      const client = new CriClient(daemon.paths.socket);
      const call = client.runtime.runPodSandbox({ config });
      call.catch(() => undefined);
      const id = idIn(await plugin.waitForCalls("ADD", earlier + 1), config);
      client.close();
      await assert.rejects(call);
      open();
      await allFinished();
      assert.deepEqual(await listIds(daemon), []);
      assert.equal(await runPod(daemon, config), id);
      await removePod(daemon, id);
    }),
  );

  test(
    "and so does the caller that joined; a third one gets the sandbox",
    leakless(served, async () => {
      const [held] = await beginHeldUp(pods(1));
      assert.ok(held !== undefined);
      await cancel(held);
      const joined = daemon.client.runtime.runPodSandbox(
        { config: held.config },
        { timeoutMs: 300 },
      );
      await assert.rejects(joined, failsWith(code.deadlineExceeded));
      open();
      await allFinished();
      assert.deepEqual(await listIds(daemon), []);
      assert.equal(await runPod(daemon, held.config), held.id);
      await removePod(daemon, held.id);
    }),
  );

  test(
    "while another waits for the same",
    leakless(served, async () => {
      const [held] = await beginHeldUp(pods(1));
      assert.ok(held !== undefined);
      const other = runPod(daemon, held.config);
      other.catch(() => undefined);
      await cancel(held);
      open();
      assert.equal(await other, held.id);
      assert.deepEqual(await listIds(daemon), [held.id]);
      await removePod(daemon, held.id);
    }),
  );

  test(
    "and the create fails: it is undone, and its name is free",
    leakless(served, async () => {
      const [held] = await beginHeldUp(pods(1), {
        does: "fail",
        error: { code: 11, msg: "no luck" },
      });
      assert.ok(held !== undefined);
      await cancel(held);
      open();
      await allFinished();
      await until("it is undone", () => !isThere(held.id));
      plugin.on("ADD", { does: "succeed" });
      const again = await runPod(daemon, held.config);
      assert.notEqual(again, held.id);
      await removePod(daemon, again);
    }),
  );
});

describe("the daemon ends while a finished sandbox is held for its retry", () => {
  for (const how of ["by SIGTERM", "by SIGKILL"] as const) {
    test(`${how}: the next one lists it, ready`, async () => {
      const [held] = await beginHeldUp(pods(1));
      assert.ok(held !== undefined);
      const { id, config } = held;
      await cancel(held);
      open();
      await allFinished();
      assert.deepEqual(await listIds(daemon), []);
      await (how === "by SIGTERM" ? daemon.stop() : daemon.kill9());
      await launchDaemon(daemon);
      assert.equal(await idOf(daemon, config), id);
      assert.equal((await statusOf(daemon, id)).state, READY);
      const exists = failsWith(code.alreadyExists, new RegExp(id));
      await assert.rejects(runPod(daemon, config), exists);
      await removePod(daemon, id);
      assert.ok(!isThere(id));
    });
  }

  test("by SIGTERM during the creation: it is undone, and created again for the retry", async () => {
    const [held] = await beginHeldUp(pods(1));
    assert.ok(held !== undefined);
    const { id, config } = held;
    await cancel(held);
    assert.equal((await daemon.stop()).code, 0);
    open();
    assert.ok(!isThere(id), "what was being made is still there");
    await launchDaemon(daemon);
    const again = await runPod(daemon, config);
    assert.notEqual(again, id);
    await removePod(daemon, again);
  });
});
