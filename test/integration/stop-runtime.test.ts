/** Stop, Remove and StopPodSandbox with an OCI runtime or a conmon that hangs or fails. */
// variants: conmon
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { OddRuntime, type OddVerb } from "../support/odd-runtime.ts";
import {
  containerStatus,
  createIn,
  EXITED,
  exited,
  inPod,
  monitorName,
  Node,
  remove,
  runIn,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  runtimeFact,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let odd: OddRuntime;
const served = (): TestDaemon => daemon;
const directory = mkdtempSync(path.join(tmpdir(), "davit-odd-"));

before(async () => {
  odd = new OddRuntime(directory);
  node = await Node.startWithBusybox({
    config: {
      runtime: {
        default_handler: "odd",
        monitor_path: odd.monitorPath,
        handlers: { odd: { path: odd.runtimePath } },
      },
    },
  });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

async function withOdd(verb: OddVerb, does: "hang" | "fail", run: () => Promise<void>) {
  odd.on(verb, does);
  try {
    await run();
  } finally {
    odd.on(verb, "work");
  }
}

const steps =
  monitorName === "conmon"
    ? (["create", "start", "conmon"] as const)
    : (["create", "start"] as const);

describe("while StartContainer hangs", () => {
  for (const verb of steps) {
    test(
      `in ${verb}, StopContainer ends both in time, and nothing of the start stays`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const id = await createIn(pod);
          await withOdd(verb, "hang", async () => {
            const started = assert.rejects(start(daemon, id), /the container is being stopped/);
            await until("it hangs", () => odd.called(verb));
            await stop(daemon, id, 60);
            await started;
          });
          const { state, reason, exitCode } = await containerStatus(daemon, id);
          assert.deepEqual([state, reason, exitCode], [EXITED, "StartError", 128]);
        }),
      ),
    );
  }

  test(
    "RemoveContainer and StopPodSandbox do not wait for it, even if its caller has disconnected",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const [removed, stopped] = [await createIn(pod), await createIn(pod)];
        await withOdd("create", "hang", async () => {
          const request = { containerId: removed };
          const gone = daemon.client.runtime.startContainer(request, { timeoutMs: 300 });
          await assert.rejects(gone, failsWith(code.deadlineExceeded));
          await until("it hangs", () => odd.called("create"));
          await remove(daemon, removed);
          odd.on("create", "hang");
          const started = assert.rejects(start(daemon, stopped), /is being stopped/);
          await until("it hangs", () => odd.called("create"));
          await stopPod(daemon, pod.id);
          await started;
        });
        assert.equal((await containerStatus(daemon, stopped)).reason, "StartError");
        await assert.rejects(containerStatus(daemon, removed), failsWith(code.notFound));
      }),
    ),
  );
});

for (const does of ["hang", "fail"] as const) {
  test(
    `an OCI runtime whose delete ${does}s blocks neither Stop nor Remove, and leaves nothing`,
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod);
        await withOdd("delete", does, async () => {
          await stop(daemon, id);
          await until("delete misbehaves", () => odd.called("delete"));
          assert.equal((await exited(daemon, id)).exitCode, 137);
          await remove(daemon, id);
        });
        assert.deepEqual(await runtimeFact(daemon, "failedEnds"), []);
      }),
    ),
  );

  test(
    `a start that ${does}s in create with a delete that ${does}s leaves nothing`,
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await createIn(pod);
        await withOdd("delete", does, () =>
          withOdd("create", does, async () => {
            const words = does === "fail" ? /create was told to fail/ : /is being stopped/;
            const started = assert.rejects(start(daemon, id), words);
            await until("it misbehaves", () => odd.called("create"));
            if (does === "fail") await started;
            await stop(daemon, id);
            await started;
            assert.equal((await exited(daemon, id)).reason, "StartError");
            await remove(daemon, id);
          }),
        );
      }),
    ),
  );
}
