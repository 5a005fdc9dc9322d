/** Containers and pods that runc's shim restores by its task API, and restores that do not come to their end. */
import assert from "node:assert/strict";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { HeldCriu } from "../support/held-criu.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointed,
  checkpointNode,
  checkpointPod,
  type CounterState,
  continuesFrom,
  counter,
  isPaused,
  restoreOf,
  shimOf,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  containerStatus,
  CREATED,
  createIn,
  EXITED,
  inPod,
  type Node,
  type Pod,
  RUNNING,
  runIn,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  launchDaemon,
  leakless,
  POD,
  pod as podOf,
  removePod,
  runPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const checkpoints = new CheckpointDirectory();
const held = new HeldCriu(checkpoints.at("held"), "runc");

before(async () => {
  const runtime_type = "io.containerd.runc.v2";
  const options = { BinaryName: "runc" };
  // As an earlier davit started shims.
  const without = checkpoints.at("shim");
  const text = '#!/bin/sh\nunset CRIU_CONFIG_FILE\nexec containerd-shim-runc-v2 "$@"\n';
  writeFileSync(without, text, { mode: 0o755 });
  const handlers = {
    byRunc: { runtime_type, options },
    held: { runtime_type, options: { BinaryName: held.runtimePath } },
    without: { runtime_type, runtime_path: without, options },
  };
  node = await checkpointNode(checkpoints, { handlers });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  checkpoints[Symbol.dispose]();
});

const restores = (): readonly string[] =>
  readdirSync(path.join(daemon.paths.root, "checkpoints/restores"));

describe("the shim with runc restores", () => {
  test(
    "a container from an archive, which can be captured again and restored without a shim",
    leakless(served, async () => {
      const location = checkpoints.at("first.tar");
      const again = checkpoints.at("again.tar");
      const seen = await checkpointed(daemon, "byRunc", location);
      await inPod(
        daemon,
        podOf(),
        async (pod) => {
          const id = await createIn(pod, counter({ image: { image: location } }));
          await start(daemon, id);
          await continuesFrom(daemon, id, seen);
          assert.equal(await sh(daemon, id, "cat /new"), "kept");
          await checkpointContainer(daemon, id, again);
          await continuesFrom(daemon, id, seen);
          await stop(daemon, id, 10);
          assert.equal((await containerStatus(daemon, id)).exitCode, 0);
        },
        "byRunc",
      );
      await inPod(
        daemon,
        podOf(),
        async (pod) => {
          const id = await createIn(pod, counter({ image: { image: again } }));
          await start(daemon, id);
          await continuesFrom(daemon, id, seen);
        },
        "runc",
      );
      rmSync(location);
      rmSync(again);
      assert.deepEqual(restores(), []);
    }),
  );

  test(
    "a pod of two containers that share PID and IPC",
    leakless(served, async () => {
      const output = checkpoints.make();
      const configs = ["first", "second"].map((name) =>
        counter({ metadata: { name, attempt: 0 } }),
      );
      const seen: CounterState[] = [];
      await inPod(
        daemon,
        podOf({ pid: POD }),
        async (pod) => {
          const ids = [await runIn(pod, configs[0]), await runIn(pod, configs[1])];
          for (const id of ids) seen.push(await stateOf(daemon, id));
          await checkpointPod(pod, ids, output);
          for (const id of ids) assert.equal(await isPaused(daemon, id), false);
        },
        "byRunc",
      );
      const request = restoreOf(daemon, output, podOf({ pid: POD }), configs);
      const { podSandboxId, restoredContainers } = await daemon.client.runtime.restorePod({
        ...request,
        runtimeHandler: "byRunc",
      });
      try {
        for (const { containerId } of restoredContainers) await start(daemon, containerId);
        for (const [at, { containerId }] of restoredContainers.entries()) {
          await continuesFrom(daemon, containerId, seen[at]);
        }
      } finally {
        await removePod(daemon, podSandboxId);
      }
      rmSync(output, { recursive: true });
      assert.deepEqual(restores(), []);
    }),
  );

  test(
    "nothing whose images claim more than the request allows, and removes what it has made",
    leakless(served, async () => {
      const location = checkpoints.at("claims.tar");
      await inPod(
        daemon,
        podOf(),
        async (pod) => {
          const id = await runIn(
            pod,
            counter({
              linux: { securityContext: { capabilities: { addCapabilities: ["NET_ADMIN"] } } },
            }),
          );
          await stateOf(daemon, id);
          await checkpointContainer(daemon, id, location);
        },
        "byRunc",
      );
      await inPod(
        daemon,
        podOf(),
        async (pod) => {
          const id = await createIn(pod, counter({ image: { image: location } }));
          const refused = failsWith(
            code.permissionDenied,
            /the checkpoint has .*: restore it with/,
          );
          await assert.rejects(start(daemon, id), refused);
          assert.equal((await containerStatus(daemon, id)).state, EXITED);
        },
        "byRunc",
      );
      rmSync(location);
      assert.deepEqual(restores(), []);
    }),
  );
});

test(
  "a shim that does not give its runtime CRIU's configuration restores nothing",
  leakless(served, async () => {
    const location = checkpoints.at("without.tar");
    await checkpointed(daemon, "byRunc", location);
    await inPod(
      daemon,
      podOf(),
      async (pod) => {
        const id = await createIn(pod, counter({ image: { image: location } }));
        const refused = failsWith(
          code.failedPrecondition,
          /without CRIU's .*; restore it in a new pod/,
        );
        await assert.rejects(start(daemon, id), refused);
      },
      "without",
    );
    rmSync(location);
    assert.deepEqual(restores(), []);
  }),
);

describe("a restore by the shim with runc that is interrupted", () => {
  const location = checkpoints.at("interrupted.tar");
  let seen: CounterState | undefined;
  before(async () => {
    seen = await checkpointed(daemon, "byRunc", location);
  });
  const restored = (pod: Pod) => createIn(pod, counter({ image: { image: location } }));

  test(
    "as its shim is killed: the container has exited, and nothing is left",
    leakless(served, () =>
      inPod(
        daemon,
        podOf(),
        async (pod) => {
          const id = await restored(pod);
          held.hold();
          const call = start(daemon, id);
          call.catch(() => undefined);
          await until("CRIU is in the middle", () => held.isHeld());
          process.kill(shimOf(pod), "SIGKILL");
          await assert.rejects(call);
          held.release();
          assert.equal((await containerStatus(daemon, id)).state, EXITED);
        },
        "held",
      ),
    ),
  );

  for (const stage of ["mark-start", "start-process", "finish-record"]) {
    test(`as the daemon dies at ${stage}: the next one knows whether it runs`, async () => {
      await daemon.stop();
      await launchDaemon(daemon, { DAVIT_FAULTS: `start-container/${stage}=kill` });
      const config = podOf();
      const pod = { daemon, config, id: await runPod(daemon, config, "byRunc") };
      const id = await restored(pod);
      await Promise.allSettled([start(daemon, id)]);
      assert.equal((await daemon.exited).signal, "SIGKILL", daemon.tail(10));
      await launchDaemon(daemon);
      const { state } = await containerStatus(daemon, id);
      const runs = stage === "finish-record";
      assert.equal(state, runs ? RUNNING : CREATED);
      if (!runs) await start(daemon, id);
      await continuesFrom(daemon, id, seen);
      await removePod(daemon, pod.id);
      assert.deepEqual(readdirSync(path.join(daemon.paths.state, "shims/tasks")), []);
      assert.deepEqual(restores(), []);
    });
  }
});
