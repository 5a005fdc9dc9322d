/**
 * PodSandboxStatus in the cases in which containerd has bugs, and sandboxes whose controller dies, hangs or does not
 * exist: each with its real cause.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { writeScript } from "../support/test-controller.ts";
import {
  bare,
  code,
  failsWith,
  holderOf,
  infoOf,
  launchDaemon,
  leakless,
  NOTREADY,
  openDatabase,
  pinsOf,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  startDaemon,
  statusOf,
  stopPod,
  withPod,
  runtimeFact,
  until,
} from "../support/suites/pods.ts";
import {
  shimHandler,
  zeroTime,
  plainConfig,
  plain,
  shim,
  script,
  serveBoth,
  ofPlain,
  ofShim,
  scripted,
  checkKept,
  unmountByHand,
  untilNotReady,
} from "../support/suites/two-daemons.ts";
import { patient } from "../support/patience.ts";

serveBoth();

describe("bugs of the model that are not copied", () => {
  for (const createdAtNs of [zeroTime, "0", "-1"]) {
    test(
      `bug 1: a creation time of ${createdAtNs} is invalid`,
      scripted(
        { status: { does: "answer", state: "SANDBOX_NOTREADY", createdAtNs } },
        async (id, begun) => {
          const status = await statusOf(shim, id);
          assert.equal(status.createdAt, begun.createdAt);
          assert.ok(status.createdAt > 1_600_000_000_000_000_000n);
        },
      ),
    );

    test(
      `bug 1: a creation time of ${createdAtNs} at the start is invalid, in lists too`,
      leakless(ofShim, async () => {
        writeScript(script, { startedAtNs: createdAtNs });
        try {
          await withPod(
            shim,
            pod(),
            async (id) => {
              const { items } = await shim.client.runtime.listPodSandbox({ filter: { id } });
              for (const { createdAt } of [
                await statusOf(shim, id),
                items[0] ?? { createdAt: 0n },
              ]) {
                assert.ok(createdAt > 1_600_000_000_000_000_000n, String(createdAt));
              }
            },
            "kata",
          );
        } finally {
          writeScript(script, {});
        }
      }),
    );
  }

  test(
    "bug 2: an empty answer of a sandboxer for an unknown sandbox means NOTREADY",
    scripted(
      { status: { does: "answer", state: "", createdAtNs: zeroTime } },
      async (id, begun) => {
        const status = await statusOf(shim, id);
        assert.equal(status.state, NOTREADY);
        checkKept(status, begun);
      },
    ),
  );

  test(
    "bug 3: a dropped connection means NOTREADY, not an error",
    scripted({ status: { does: "drop" } }, async (id, begun) => {
      const status = await statusOf(shim, id);
      assert.equal(status.state, NOTREADY);
      checkKept(status, begun);
      assert.equal((await infoOf(shim, id))["processStatus"], "deleted");
    }),
  );

  test(
    "bug 4: a status with a closed namespace deletes nothing",
    leakless(ofPlain, () =>
      withPod(plain, pod(), async (id) => {
        const { net } = pinsOf(plain, id);
        await unmountByHand(plain, net);
        await untilNotReady(plain, id);
        await infoOf(plain, id);
        assert.ok(existsSync(net));
      }),
    ),
  );

  test("bug 5: sandboxes of a shim keep their creation time over a restart, in lists too", async () => {
    writeScript(script, { startedAtNs: "1700000000000000002" });
    const ids = [await runPod(shim, pod(), "kata")];
    writeScript(script, {});
    ids.push(await runPod(shim, pod(), "kata"));
    const list = async () => {
      const { items } = await shim.client.runtime.listPodSandbox({});
      return items.map(({ id, createdAt, state }) => ({ id, createdAt, state }));
    };
    const begun = await list();
    assert.equal(begun[0]?.createdAt, 1_700_000_000_000_000_002n);
    await shim.kill9();
    await launchDaemon(shim);
    assert.deepEqual(await list(), begun);
    for (const id of ids) await removePod(shim, id);
  });

  test("bug 6: a pod's controller and runtime are those it was started with", async () => {
    const id = await runPod(plain, pod({ pid: POD }), "extra");
    const info = await infoOf(plain, id);
    await plain.stop();
    const changed = { path: "", controller: "shim", runtime_type: "/bin/true" };
    plain.writeConfig({ runtime: { handlers: { extra: changed } } });
    await launchDaemon(plain);
    assert.equal((await statusOf(plain, id)).state, READY);
    const now = await infoOf(plain, id);
    assert.equal(now["runtimeType"], info["runtimeType"]);
    assert.equal(now["pid"], info["pid"]);
    await removePod(plain, id);
    await plain.stop();
    plain.writeConfig(plainConfig);
    await launchDaemon(plain);
  });

  test(
    "bug 7: timestamp and container statuses are of the same moment, later each time",
    leakless(ofPlain, () =>
      withPod(plain, bare(), async (podSandboxId) => {
        let last = 0n;
        for (let count = 0; count < 3; count++) {
          const answer = await plain.client.runtime.podSandboxStatus({ podSandboxId });
          assert.ok(answer.timestamp > last);
          assert.deepEqual(answer.containersStatuses, []);
          last = answer.timestamp;
        }
      }),
    ),
  );
});

describe("the sandbox's death", () => {
  test(
    "a holder that is killed makes it NOTREADY within 2 s, and keeps the address until the Stop",
    leakless(ofPlain, async () => {
      const id = await runPod(plain, pod({ pid: POD }));
      const begun = await statusOf(plain, id);
      process.kill(await holderOf(plain, id), "SIGKILL");
      const status = await untilNotReady(plain, id);
      checkKept(status, begun);
      const info = await infoOf(plain, id);
      assert.equal(info["pid"], 0);
      assert.match(String(info["reason"]), /PID namespace/);
      const { items } = await plain.client.runtime.listPodSandbox({ filter: { id } });
      assert.equal(items[0]?.state, NOTREADY);
      await stopPod(plain, id);
      await removePod(plain, id);
    }),
  );

  for (const does of ["hang", "drop", "not-found"] as const) {
    test(`a sandboxer that answers a restart with "${does}" delays no other call, and its pod keeps its state until it answers`, async () => {
      const silent = await runPod(shim, pod(), "kata");
      const other = await runPod(shim, pod({ pid: POD }));
      const begun = await statusOf(shim, silent);
      await shim.kill9();
      writeScript(script, { load: { does }, status: { does: "hang" } });
      try {
        const begin = performance.now();
        await launchDaemon(shim);
        assert.ok(performance.now() - begin < patient(8000));
        assert.equal((await statusOf(shim, other)).state, READY);
        checkKept(await statusOf(shim, silent), begun);
      } finally {
        writeScript(script, {});
      }
      assert.deepEqual(await statusOf(shim, silent), begun);
      await until("it is restored after all", async () => {
        const unfinished = (await runtimeFact(shim, "unfinishedRemovals")) as string[];
        return unfinished.length === 0;
      });
      for (const id of [silent, other]) await removePod(shim, id);
    });
  }

  test(
    "a sandboxer that fails a Stop leaves the pod NOTREADY, and Stop can be called again",
    scripted({ stop: { does: "drop" } }, async (id) => {
      await assert.rejects(
        stopPod(shim, id),
        failsWith(code.unavailable, /end-processes.*connection closed/),
      );
      assert.equal((await statusOf(shim, id)).state, NOTREADY);
      await assert.rejects(removePod(shim, id), failsWith(code.unavailable));
      writeScript(script, {});
      await stopPod(shim, id);
      assert.equal((await statusOf(shim, id)).state, NOTREADY);
    }),
  );

  test(
    "after a sandboxer refuses new resources, the old ones are still recorded",
    scripted({ update: { does: "fail", message: "no hotplug" } }, async (podSandboxId) => {
      const update = shim.client.runtime.updatePodSandboxResources({
        podSandboxId,
        overhead: { cpuShares: 2n },
      });
      await assert.rejects(update, failsWith(code.internal, /no hotplug/));
      using database = openDatabase(shim);
      const row = database.prepare("SELECT resources FROM sandbox WHERE id = ?").get(podSandboxId);
      assert.equal(row?.["resources"], null);
    }),
  );

  test("a pod of a controller that this daemon does not have keeps its last known state", async () => {
    const id = await runPod(shim, pod(), "kata");
    await shim.stop();
    const keptBy = (controller: string): void => {
      using database = openDatabase(shim);
      database
        .prepare(
          "UPDATE sandbox SET state = json_set(state, '$.handler.controller', ?) WHERE id = ?",
        )
        .run(controller, id);
    };
    keptBy("elsewhere");
    await launchDaemon(shim);
    assert.equal((await statusOf(shim, id)).state, READY);
    assert.equal((await infoOf(shim, id))["processStatus"], "unknown");
    await shim.stop();
    keptBy("shim");
    await launchDaemon(shim);
    assert.equal((await statusOf(shim, id)).state, READY);
    await removePod(shim, id);
  });

  test("a pod whose shim this daemon does not find is not ready, and can be removed", async () => {
    const id = await runPod(shim, pod(), "kata");
    await shim.stop();
    // The real program serves the same files. No shim was started for this pod.
    await using other = await servePlainly(shim);
    assert.equal((await statusOf(other, id)).state, NOTREADY);
    await removePod(other, id);
    await other.stop();
    await launchDaemon(shim);
  });
});

/** A second daemon on the files of a first one that is stopped. */
async function servePlainly(first: TestDaemon): Promise<TestDaemon> {
  const { paths } = first;
  return startDaemon({
    config: {
      root: paths.root,
      state: paths.state,
      cni: { conf_dir: paths.confDir },
      runtime: { handlers: shimHandler },
    },
  });
}
