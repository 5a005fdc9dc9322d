/**
 * PodSandboxStatus in the branches of containerd's sandbox_status.go that depend on what a sandboxer answers.
 * status.test.ts has the others.
 */
import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { infoOf, NOTREADY, READY, statusOf, until } from "../support/suites/pods.ts";
import {
  shim,
  serveBoth,
  scripted,
  checkKept,
  unmountByHand,
} from "../support/suites/two-daemons.ts";
import { patient } from "../support/patience.ts";

serveBoth();

describe("PodSandboxStatus", () => {
  test(
    "branch 4: a pod whose sandboxer says that it runs loses only its address",
    scripted({}, async (id, begun) => {
      assert.match(begun.network?.ip ?? "", /^10\.92\./);
      await unmountByHand(shim, path.join(shim.paths.state, "test-controller", id));
      const status = await until("the address is gone", async () => {
        const now = await statusOf(shim, id);
        return now.network?.ip === "" && now;
      });
      assert.equal(status.state, READY);
    }),
  );

  test(
    "branch 7: a sandboxer that does not know the sandbox means NOTREADY, with all other fields",
    scripted({ status: { does: "not-found" } }, async (id, begun) => {
      const status = await statusOf(shim, id);
      assert.equal(status.state, NOTREADY);
      checkKept(status, begun);
      const info = await infoOf(shim, id);
      assert.equal(info["pid"], 0);
      assert.equal(info["processStatus"], "deleted");
      assert.match(String(info["controllerError"]), /no such sandbox/);
    }),
  );

  test(
    "branch 8: another failure of the sandboxer keeps the last known status",
    scripted({ status: { does: "fail", message: "out of cheese" } }, async (id, begun) => {
      const from = shim.lines.length;
      checkKept(await statusOf(shim, id), begun);
      assert.equal((await statusOf(shim, id)).state, READY);
      await shim.waitForLine(/out of cheese/, from);
      const info = await infoOf(shim, id);
      assert.equal(info["processStatus"], "unknown");
      assert.match(String(info["controllerError"]), /out of cheese/);
    }),
  );

  test(
    "branch 8: a sandboxer that hangs does not block the call: it returns the last known status within 3 s",
    scripted({ status: { does: "hang" } }, async (id, begun) => {
      const begin = performance.now();
      const status = await statusOf(shim, id);
      assert.ok(performance.now() - begin < patient(3000));
      assert.equal(status.state, READY);
      checkKept(status, begun);
    }),
  );

  test(
    "branch 9: state, creation time and info are the sandboxer's",
    scripted(
      {
        status: {
          does: "answer",
          state: "SANDBOX_READY",
          createdAtNs: "1700000000000000001",
          pid: 4711,
          info: { vm: "v-1" },
        },
      },
      async (id, begun) => {
        const status = await statusOf(shim, id);
        assert.equal(status.createdAt, 1_700_000_000_000_000_001n);
        checkKept({ ...status, createdAt: begun.createdAt }, begun);
        const info = await infoOf(shim, id);
        assert.equal(info["pid"], 4711);
        assert.equal(info["processStatus"], "running");
        assert.equal(info["vm"], "v-1");
      },
    ),
  );

  for (const [state, wanted] of [
    ["SANDBOX_READY", READY],
    ["SANDBOX_NOTREADY", NOTREADY],
    ["SANDBOX_UNKNOWN", NOTREADY],
    ["", NOTREADY],
    ["sandbox_ready", NOTREADY],
  ] as const) {
    test(
      `branch 10: state "${state}" is ${wanted === READY ? "READY" : "NOTREADY"}`,
      scripted({ status: { does: "answer", state } }, async (id, begun) => {
        const status = await statusOf(shim, id);
        assert.equal(status.state, wanted);
        checkKept(status, begun);
      }),
    );
  }

  for (const createdAtNs of [undefined, "0"]) {
    test(
      `branch 11: creation time ${createdAtNs ?? "left out"} by the sandboxer comes from our record`,
      scripted(
        {
          status: {
            does: "answer",
            state: "SANDBOX_READY",
            ...(createdAtNs === undefined ? {} : { createdAtNs }),
          },
        },
        async (id, begun) => {
          checkKept(await statusOf(shim, id), begun);
          assert.ok(begun.createdAt > 1_600_000_000_000_000_000n);
        },
      ),
    );
  }
});
