/** StopContainer and its grace period, kills from outside, and creates whose caller disconnects. */
// variants: shim
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Signal } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { patient } from "../support/patience.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import {
  container,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  inPod,
  Node,
  type Pod,
  pidOf,
  pull,
  remove,
  requestIn,
  RUNNING,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupsOfProcess,
  code,
  failsWith,
  freeze,
  leakless,
  parentOf,
  stopPod,
  until,
} from "../support/suites/pods.ts";
import { hasSystemdDriver } from "../support/systemd-driver.ts";

const usr1Image = "registry.k8s.io/t/signal:1";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  const image = imageOf([busyboxLayer()], { StopSignal: "SIGUSR1" });
  await node.registry.push("t/signal", image, ["1"]);
  await pull(daemon, usr1Image);
});
after(() => node[Symbol.asyncDispose]());

async function freezeContainer(pod: Pod, id: string): Promise<void> {
  const [cgroup = ""] = hasSystemdDriver
    ? cgroupsOfProcess(await pidOf(daemon, id))
    : [`${parentOf(pod.config)}/${id}`];
  await freeze(cgroup);
}

/** Runs a container whose process does `text` at a signal, once it is ready for that. */
async function runTrapping(
  pod: Pod,
  signal: string,
  text: string,
  changes: Parameters<typeof script>[1] = {},
): Promise<string> {
  const wait = "touch /ready; while :; do sleep 0.05; done";
  const id = await runIn(pod, script(`trap '${text}' ${signal}; ${wait}`, changes));
  await until("it is ready", async () => (await exec(daemon, id, ["ls", "/ready"])).exitCode === 0);
  return id;
}

async function timed(run: Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await run;
  return performance.now() - begin;
}

describe("StopContainer", () => {
  test(
    "lets a process exit on SIGTERM",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", "exit 5");
        assert.ok((await timed(stop(daemon, id, 20))) < patient(5000));
        const { state, exitCode, reason } = await containerStatus(daemon, id);
        assert.deepEqual([state, exitCode, reason], [EXITED, 5, "Error"]);
      }),
    ),
  );

  test(
    "thaws a container that was frozen, so that it can end by itself",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", "exit 5");
        await freezeContainer(pod, id);
        await stop(daemon, id, 20);
        assert.equal((await containerStatus(daemon, id)).exitCode, 5);
      }),
    ),
  );

  test(
    "kills a frozen container, and so does the stop of its pod",
    leakless(served, async () => {
      await inPod(daemon, bare(), async (pod) => {
        const ids = [await runIn(pod), await runIn(pod)] as const;
        for (const id of ids) await freezeContainer(pod, id);
        await stop(daemon, ids[0], 0);
        assert.equal((await containerStatus(daemon, ids[0])).exitCode, 137);
        await stopPod(daemon, pod.id);
        assert.equal((await containerStatus(daemon, ids[1])).exitCode, 137);
      });
    }),
  );

  test(
    "kills a process that ignores SIGTERM when the grace period is over",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", ":");
        const took = await timed(stop(daemon, id, 1));
        assert.ok(took >= 1000 && took < patient(4000), `it took ${took} ms`);
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );

  test(
    "with a shorter grace period shortens a stop in progress; both calls answer",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", ":");
        const long = timed(stop(daemon, id, 60));
        const short = timed(stop(daemon, id, 1));
        assert.ok((await short) < patient(4000));
        assert.ok((await long) < patient(5000));
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );

  test(
    "with grace period 0 kills immediately, also during a longer stop",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", ":");
        const long = stop(daemon, id, 60);
        assert.ok((await timed(stop(daemon, id, 0))) < patient(2000));
        await long;
      }),
    ),
  );

  test(
    "continues when its caller disconnects",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runTrapping(pod, "TERM", ":");
        const request = { containerId: id, timeout: 2n };
        const call = daemon.client.runtime.stopContainer(request, { timeoutMs: 500 });
        await assert.rejects(call, failsWith(code.deadlineExceeded));
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        assert.equal((await exited(daemon, id)).exitCode, 137);
      }),
    ),
  );

  test(
    "sends the stop signal of the request, or else that of the image",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const changes = { image: { image: usr1Image } };
        const usr1 = await runTrapping(pod, "USR1", "exit 10", changes);
        const usr2 = await runTrapping(pod, "USR2", "exit 12", {
          ...changes,
          stopSignal: Signal.SIGUSR2,
        });
        assert.equal((await containerStatus(daemon, usr1)).stopSignal, Signal.SIGUSR1);
        await Promise.all([stop(daemon, usr1, 20), stop(daemon, usr2, 20)]);
        assert.equal((await containerStatus(daemon, usr1)).exitCode, 10);
        assert.equal((await containerStatus(daemon, usr2)).exitCode, 12);
      }),
    ),
  );

  test(
    "is idempotent in every state, and for a container that does not exist",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await createIn(pod);
        await stop(daemon, id);
        await start(daemon, id);
        await Promise.all([stop(daemon, id), stop(daemon, id, 1), stop(daemon, id)]);
        const { finishedAt } = await containerStatus(daemon, id);
        await stop(daemon, id);
        assert.equal((await containerStatus(daemon, id)).finishedAt, finishedAt);
        await Promise.all([remove(daemon, id), remove(daemon, id), stop(daemon, id)]);
        await stop(daemon, id);
        await remove(daemon, id);
        await stop(daemon, "0".repeat(64));
        await remove(daemon, "0".repeat(64));
      }),
    ),
  );

  test(
    "and RemoveContainer during a start leave a container that has ended, or none",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        for (const end of [stop, remove]) {
          const id = await createIn(pod);
          const started = start(daemon, id).catch(() => undefined);
          await end(daemon, id);
          await started;
          const { containers } = await daemon.client.runtime.listContainers({ filter: { id } });
          // A stop before the start does not prevent it.
          if (end === remove) assert.deepEqual(containers, []);
          await remove(daemon, id);
        }
      }),
    ),
  );
});

test(
  "a container that is killed from outside is exited",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const id = await runIn(pod);
      process.kill(await pidOf(daemon, id), "SIGKILL");
      const { exitCode, reason } = await exited(daemon, id);
      assert.deepEqual([exitCode, reason], [137, "Error"]);
    }),
  ),
);

/** On a busy machine the daemon may have answered a caller who had just gone: the refusal names the container. */
async function idOfRetry(retry: Promise<{ readonly containerId: string }>): Promise<string> {
  try {
    return (await retry).containerId;
  } catch (error) {
    failsWith(code.alreadyExists, /container "[0-9a-f]{64}" is this attempt/)(error);
    return /container "([0-9a-f]{64})" is this/.exec(String(error))?.[1] ?? "";
  }
}

test(
  "a retry joins the create of a caller that disconnected: there is one container for each",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const requests = Array.from({ length: 20 }, () => requestIn(pod, container()));
      let gone = 0;
      const first = await Promise.all(
        requests.map(async (request) => {
          try {
            return await daemon.client.runtime.createContainer(request, { timeoutMs: 10 });
          } catch (error) {
            failsWith(code.deadlineExceeded)(error);
            gone += 1;
            return undefined;
          }
        }),
      );
      assert.ok(gone > 0, "no caller went away");
      const ids = await Promise.all(
        requests.map(async (request, at) => {
          const known = first[at]?.containerId;
          return known ?? (await idOfRetry(daemon.client.runtime.createContainer(request)));
        }),
      );
      const { containers } = await daemon.client.runtime.listContainers({});
      assert.deepEqual(containers.map(({ id }) => id).sort(), ids.toSorted());
    }),
  ),
);
