/** Checkpoints of containers of runc's shim by its task API, what continues from them, and a shim that fails meanwhile. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { makeSandboxer, removeSandboxer, writeSandboxerScript } from "../support/sandboxer.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointNode,
  checkpointPod,
  type CounterState,
  continuesFrom,
  counter,
  isPaused,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  exec,
  containerStatus,
  createIn,
  inPod,
  type Node,
  RUNNING,
  runIn,
  sh,
  start,
} from "../support/suites/containers.ts";
import { code, failsWith, leakless, pod as podOf, until } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let directory = "";
let script = "";
const served = (): TestDaemon => daemon;
const checkpoints = new CheckpointDirectory();

before(async () => {
  const sandboxer = makeSandboxer();
  ({ directory, file: script } = sandboxer);
  const runtime_type = "io.containerd.runc.v2";
  const handlers = {
    byCrun: { runtime_type, options: { BinaryName: "crun" } },
    byRunc: { runtime_type, options: { BinaryName: "runc" } },
    // Runs tasks by crun, and fails as the script says.
    faulty: { runtime_type, runtime_path: sandboxer.program, options: { BinaryName: "crun" } },
    bySandboxer: { controller: "shim", runtime_type: sandboxer.program },
  };
  node = await checkpointNode(checkpoints, { handlers });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  removeSandboxer(directory);
  checkpoints[Symbol.dispose]();
});

const restores = (): readonly string[] =>
  readdirSync(path.join(daemon.paths.root, "checkpoints/restores"));

for (const [handler, runtime] of [
  ["byCrun", "crun"],
  ["byRunc", "runc"],
] as const) {
  describe(`a container of the shim with ${runtime}`, () => {
    test(
      "is captured and runs on, or stays paused",
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at(`${runtime}.tar`);
            await checkpointContainer(daemon, id, location);
            assert.equal((await containerStatus(daemon, id)).state, RUNNING);
            assert.equal(await isPaused(daemon, id), false);
            await continuesFrom(daemon, id, seen);
            rmSync(location);
            await daemon.client.checkpoints.pause({ id });
            await checkpointContainer(daemon, id, location);
            assert.equal(await isPaused(daemon, id), true);
            await daemon.client.checkpoints.resume({ id });
            await continuesFrom(daemon, id, seen);
            rmSync(location);
          },
          handler,
        ),
      ),
    );

    test(
      "is what a container of the same OCI runtime without a shim can continue from",
      leakless(served, async () => {
        const location = checkpoints.at(`${runtime}-moved.tar`);
        const seen = await checkpointed(handler, location);
        const restored = async (pod: Parameters<typeof createIn>[0]): Promise<void> => {
          const id = await createIn(pod, counter({ image: { image: location } }));
          await start(daemon, id);
          await continuesFrom(daemon, id, seen);
        };
        await inPod(daemon, podOf(), restored, runtime);
        rmSync(location);
      }),
    );
  });
}

/** Writes a checkpoint of a container of the handler. Returns its state before. */
async function checkpointed(handler: string, location: string): Promise<CounterState> {
  const seen: CounterState[] = [];
  await inPod(
    daemon,
    podOf(),
    async (pod) => {
      const id = await runIn(pod, counter());
      seen.push(await stateOf(daemon, id));
      await sh(daemon, id, "echo kept > /new");
      await checkpointContainer(daemon, id, location);
    },
    handler,
  );
  const [state] = seen;
  assert.ok(state !== undefined);
  return state;
}

test(
  "what cannot be restored is refused by name: a pod, an archive, a sandboxer",
  leakless(served, async () => {
    const location = checkpoints.at("refused.tar");
    await checkpointed("byCrun", location);
    await inPod(
      daemon,
      podOf(),
      async (pod) => {
        const id = await runIn(pod, counter());
        const output = checkpoints.make();
        const refused = failsWith(
          code.unimplemented,
          /before davit has checked them; use a handler with/,
        );
        await assert.rejects(checkpointPod(pod, [id], output), refused);
        assert.deepEqual(readdirSync(output), []);
        const create = createIn(pod, counter({ image: { image: location } }));
        const message = /handler "byCrun" runs containers by the shim .* has checked them/;
        await assert.rejects(create, failsWith(code.failedPrecondition, message));
      },
      "byCrun",
    );
    rmSync(location);
    await inPod(
      daemon,
      podOf(),
      async (pod) => {
        const id = await runIn(pod, counter());
        const refused = failsWith(
          code.unimplemented,
          /controller = "shim", whose containers davit does not capture/,
        );
        await assert.rejects(checkpointContainer(daemon, id, location), refused);
        assert.ok(!existsSync(location));
      },
      "bySandboxer",
    );
    assert.deepEqual(restores(), []);
  }),
);

describe("a shim that fails at a checkpoint", () => {
  const faults = [
    [{ does: "fail", kind: "unimplemented" }, code.unimplemented, /the shim of the pod has no/],
    [{ does: "fail", kind: "unknown" }, code.unknown, /capture container/],
    [{ does: "hang" }, code.deadlineExceeded, /capture-memory/],
  ] as const;
  for (const [fault, expected, message] of faults) {
    const name = fault.does === "fail" ? `fails with ${fault.kind}` : "hangs";
    test(
      `${name}: the container runs on, and there is no file`,
      leakless(served, () =>
        inPod(
          daemon,
          podOf(),
          async (pod) => {
            const id = await runIn(pod, counter());
            const seen = await stateOf(daemon, id);
            const location = checkpoints.at("failed.tar");
            // As a shim does that is busy: it resumes the task when it can.
            const others = fault.does === "hang" ? { Resume: { does: "held" } as const } : {};
            writeSandboxerScript(script, { Checkpoint: fault, ...others });
            const request = { containerId: id, location, timeout: 2n };
            const call = daemon.client.runtime.checkpointContainer(request);
            await assert.rejects(call, failsWith(expected, message));
            assert.ok(!existsSync(location));
            await until("it runs on", async () => !(await isPaused(daemon, id)));
            writeSandboxerScript(script, {});
            // It starts commands as soon as it has resumed the task.
            await until("its shim starts commands", () =>
              exec(daemon, id, ["true"]).then(
                () => true,
                () => false,
              ),
            );
            await continuesFrom(daemon, id, seen);
          },
          "faulty",
        ),
      ),
    );
  }
});
