/** Stop, Remove and List of pods, and the use of ids and names, through the socket. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { PodSandboxFilter, PodSandboxState } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  bare,
  code,
  endDaemon,
  failsWith,
  holderOf,
  leakless,
  listIds,
  NOTREADY,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  startDaemon,
  statusOf,
  stopPod,
  withPod,
} from "../support/suites/pods.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => endDaemon(daemon));

describe("StopPodSandbox and RemovePodSandbox", () => {
  test(
    "do nothing the second time, and nothing for an id that does not exist",
    leakless(served, async () => {
      const id = await runPod(daemon, pod({ pid: POD }));
      for (let time = 0; time < 2; time++) {
        await stopPod(daemon, id);
        assert.equal((await statusOf(daemon, id)).state, NOTREADY);
      }
      for (let time = 0; time < 2; time++) {
        await removePod(daemon, id);
        await assert.rejects(statusOf(daemon, id), failsWith(code.notFound));
      }
      await stopPod(daemon, id);
      await stopPod(daemon, "0".repeat(64));
      await removePod(daemon, "nonsense");
    }),
  );

  test(
    "share the work of calls at the same time",
    leakless(served, async () => {
      const id = await runPod(daemon, pod({ pid: POD }));
      await Promise.all([
        stopPod(daemon, id),
        stopPod(daemon, id),
        removePod(daemon, id),
        removePod(daemon, id),
      ]);
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "Remove stops what runs",
    leakless(served, async () => {
      const id = await runPod(daemon, pod({ pid: POD }));
      const pid = await holderOf(daemon, id);
      await removePod(daemon, id);
      assert.equal(existsSync(`/proc/${pid}`), false);
    }),
  );
});

describe("ids", () => {
  test(
    "can be shortened to a prefix that only one sandbox has",
    leakless(served, async () => {
      const ids: string[] = [];
      // Ids are hexadecimal: of 17 two begin with the same digit.
      for (let count = 0; count < 17; count++) ids.push(await runPod(daemon, bare()));
      const shared = ids
        .map((id) => id.slice(0, 1))
        .find((digit, at, all) => all.indexOf(digit) !== at);
      assert.ok(shared !== undefined);
      for (const wrong of ["", shared]) {
        const fails = failsWith(code.invalidArgument, wrong === "" ? /empty/ : /several ids/);
        await assert.rejects(statusOf(daemon, wrong), fails);
        await assert.rejects(stopPod(daemon, wrong), fails);
        await assert.rejects(removePod(daemon, wrong), fails);
        const update = daemon.client.runtime.updatePodSandboxResources({ podSandboxId: wrong });
        await assert.rejects(update, fails);
      }
      const [first = ""] = ids;
      const prefix = first.slice(0, 40);
      assert.equal((await statusOf(daemon, prefix)).id, first);
      await stopPod(daemon, prefix);
      assert.equal((await statusOf(daemon, first)).state, NOTREADY);
      await removePod(daemon, prefix);
      await assert.rejects(statusOf(daemon, first), failsWith(code.notFound, new RegExp(first)));
      for (const id of ids) await removePod(daemon, id);
    }),
  );
});

describe("ListPodSandbox and StreamPodSandboxes", () => {
  test(
    "return what the filter selects, and agree with each other",
    leakless(served, async () => {
      const labelled = (labels: Record<string, string>) => bare({ labels });
      const red = await runPod(daemon, labelled({ colour: "red", size: "s" }));
      const blue = await runPod(daemon, labelled({ colour: "blue", size: "s" }));
      const stopped = await runPod(daemon, labelled({ colour: "red", size: "l" }));
      await stopPod(daemon, stopped);

      const list = async (filter?: Partial<Omit<PodSandboxFilter, "$typeName" | "$unknown">>) => {
        const request = filter === undefined ? {} : { filter };
        const { items } = await daemon.client.runtime.listPodSandbox(request);
        const streamed: typeof items = [];
        for await (const answer of daemon.client.runtime.streamPodSandboxes(request)) {
          streamed.push(...answer.podSandboxes);
        }
        assert.deepEqual(streamed, items);
        return items.map(({ id }) => id);
      };
      assert.deepEqual(await list(), [red, blue, stopped]);
      assert.deepEqual(await list({}), [red, blue, stopped]);
      assert.deepEqual(await list({ id: blue }), [blue]);
      assert.deepEqual(await list({ id: blue.slice(0, 40) }), [blue]);
      assert.deepEqual(await list({ id: "nobody" }), []);
      const state = (each: PodSandboxState) =>
        ({ state: { state: each } }) as Partial<PodSandboxFilter>;
      assert.deepEqual(await list(state(READY)), [red, blue]);
      assert.deepEqual(await list(state(NOTREADY)), [stopped]);
      assert.deepEqual(await list({ labelSelector: { colour: "red" } }), [red, stopped]);
      assert.deepEqual(await list({ labelSelector: { colour: "red", size: "s" } }), [red]);
      assert.deepEqual(await list({ labelSelector: { colour: "green" } }), []);
      assert.deepEqual(await list({ labelSelector: { toString: "x" } }), []);
      assert.deepEqual(
        await list({ labelSelector: { colour: "red" }, ...state(NOTREADY), id: stopped }),
        [stopped],
      );
      for (const id of [red, blue, stopped]) await removePod(daemon, id);
      assert.deepEqual(await list(), []);
    }),
  );

  test(
    "return metadata, labels, annotations and handler unchanged",
    leakless(served, async () => {
      const config = bare({
        metadata: { name: "näme", uid: "uid/1", namespace: "ns", attempt: 4_294_967_295 },
        labels: { "a.b/c": "d", empty: "", __proto__x: "y" },
        annotations: { "e.f/g": "line 1\nline 2", unicode: "✓" },
      });
      for (const handler of ["", "crun", "runc"]) {
        const begin = BigInt(Date.now()) * 1_000_000n;
        await withPod(
          daemon,
          config,
          async (id) => {
            const { items } = await daemon.client.runtime.listPodSandbox({ filter: { id } });
            const status = await statusOf(daemon, id);
            assert.equal(items.length, 1);
            for (const seen of [items[0], status]) {
              assert.deepEqual(seen?.metadata, config.metadata);
              assert.deepEqual(seen?.labels, config.labels);
              assert.deepEqual(seen.annotations, config.annotations);
              assert.equal(seen.runtimeHandler, handler);
              assert.equal(seen.state, READY);
            }
            assert.equal(items[0]?.createdAt, status.createdAt);
            assert.ok(status.createdAt >= begin && status.createdAt <= begin + 10_000_000_000n);
          },
          handler,
        );
      }
    }),
  );
});
