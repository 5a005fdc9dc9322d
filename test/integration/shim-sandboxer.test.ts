/** The shim controller: pods whose sandboxes a sandboxer makes, and how they and their sandboxers end. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { StartSandboxResponseSchema } from "../../src/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import { heldEnd, leftBy } from "../support/sandboxer.ts";
import { isThere, readProcesses } from "../support/snapshot/processes.ts";
import {
  createIn,
  exec,
  exited,
  inPod,
  RUNNING,
  containerStatus,
  runIn,
  script,
  sh,
  start,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupDirectories,
  code,
  failsWith,
  infoOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  NODE,
  NOTREADY,
  parentOf,
  POD,
  pod as podOf,
  READY,
  removePod,
  runPod,
  statusOf,
  stopPod,
  until,
} from "../support/suites/pods.ts";
import {
  commandOf,
  daemon,
  file,
  hexOf,
  inSandbox,
  now,
  sandboxerOf,
  served,
  serveSandboxer,
  setAnswers,
} from "../support/suites/sandboxer.ts";

serveSandboxer();

test(
  "a command that starts after its caller cancelled it is ended",
  leakless(served, () =>
    inSandbox(bare(), async (pod) => {
      const id = await runIn(pod);
      setAnswers({ Start: { does: "held" } });
      await assert.rejects(exec(daemon, id, ["sleep", "54321"], 1), /took longer than 1 s/);
      const runs = (): boolean =>
        readProcesses().some((each) => commandOf(each.pid).includes("54321"));
      assert.ok(!runs(), "it has not started yet");
      setAnswers({});
      await until("it is started", () => heldEnd(file, "Start") !== undefined);
      assert.equal(heldEnd(file, "Start"), "done");
      await until("it is ended", () => !runs());
    }),
  ),
);

test(
  "a pod runs with a network and containers, and leaves nothing",
  leakless(served, () =>
    inSandbox(podOf(), async (pod) => {
      const status = await statusOf(daemon, pod.id);
      assert.deepEqual([status.state, status.runtimeHandler], [READY, "sandboxer"]);
      assert.ok(status.createdAt > now() - 30_000_000_000n && status.createdAt <= now());
      const info = await infoOf(daemon, pod.id);
      assert.ok(typeof info["pid"] === "number" && isThere(info["pid"]));
      const id = await runIn(pod);
      const address = await sh(daemon, id, "ip -o -4 address show eth0");
      assert.ok(address.includes(status.network?.ip ?? "none"), address);
      await exited(daemon, await runIn(pod, script("exit 0")));
      await stopPod(daemon, pod.id);
      assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
      assert.ok(!isThere(info["pid"]));
    }),
  ),
);

test(
  "a sandbox without a PID namespace of its own shows no container the node's processes",
  leakless(served, async () => {
    const sleeper = spawn("sleep", ["100000"], { stdio: "ignore" });
    try {
      const { pid = 0 } = sleeper;
      setAnswers({
        StartSandbox: { does: "say", hex: hexOf(StartSandboxResponseSchema, { pid }) },
      });
      const config = podOf({ network: NODE, ipc: NODE, pid: POD });
      const id = await runPod(daemon, config, "sandboxer");
      const made = await createIn({ daemon, id, config });
      await assert.rejects(
        start(daemon, made),
        failsWith(code.failedPrecondition, /processes of the node/),
      );
      const { reason, message } = await containerStatus(daemon, made);
      assert.equal(reason, "StartError");
      assert.match(message, /shareProcessNamespace/);
      // One with a PID namespace of its own runs.
      await exited(daemon, await runIn({ daemon, id, config: bare() }, script("exit 0")));
      setAnswers({});
      await removePod(daemon, id);
    } finally {
      sleeper.kill("SIGKILL");
    }
  }),
);

describe("a sandbox", () => {
  test(
    "is not ready when its own process ends",
    leakless(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const { pid } = await infoOf(daemon, id);
        process.kill(Number(pid), "SIGKILL");
        await until("it is not ready", async () => (await statusOf(daemon, id)).state === NOTREADY);
      }),
    ),
  );

  test(
    "is not ready when its shim is killed, and its containers are exited",
    leakless(served, () =>
      inSandbox(bare(), async (pod) => {
        const id = await runIn(pod);
        const { pid } = await infoOf(daemon, pod.id);
        process.kill(sandboxerOf(pod.id), "SIGKILL");
        await until(
          "it is not ready",
          async () => (await statusOf(daemon, pod.id)).state === NOTREADY,
        );
        await exited(daemon, id);
        await removePod(daemon, pod.id);
        assert.ok(!isThere(Number(pid)));
      }),
    ),
  );

  for (const method of ["StopSandbox", "ShutdownSandbox"]) {
    for (const fault of ["hang", "die"] as const) {
      test(
        `whose sandboxer ${fault}s at ${method} is removed nevertheless`,
        leakless(served, () =>
          inSandbox(bare(), async ({ id }) => {
            const { pid } = await infoOf(daemon, id);
            setAnswers({ [method]: { does: fault } });
            await stopPod(daemon, id);
            await removePod(daemon, id);
            assert.ok(!isThere(Number(pid)));
          }),
        ),
      );
    }
  }

  for (const method of ["CreateSandbox", "StartSandbox"]) {
    test(
      `whose ${method} fails leaves nothing`,
      leakless(served, async () => {
        for (const answers of [
          { [method]: { does: "fail", kind: "internal" } },
          { [method]: { does: "die" } },
        ] as const) {
          setAnswers(answers);
          await assert.rejects(runPod(daemon, bare(), "sandboxer"), /./);
        }
        setAnswers({});
      }),
    );
  }

  test(
    "outlives the daemon with its containers",
    leaklessAcross(served, () =>
      inSandbox(bare(), async (pod) => {
        const id = await runIn(pod);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.equal((await statusOf(daemon, pod.id)).state, READY);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }),
    ),
  );

  test(
    "whose sandboxer hangs during a restart keeps its recorded state, and delays no other call",
    leaklessAcross(served, () =>
      inSandbox(bare(), (stuck) =>
        inSandbox(bare(), async (other) => {
          const ids = [await runIn(stuck), await runIn(other)] as const;
          const shim = sandboxerOf(stuck.id);
          process.kill(shim, "SIGSTOP");
          await daemon.kill9();
          await launchDaemon(daemon);
          assert.equal((await exec(daemon, ids[1], ["true"])).exitCode, 0);
          for (const { id } of [stuck, other]) {
            assert.equal((await statusOf(daemon, id)).state, READY);
          }
          await exited(daemon, await runIn(other, script("exit 0")));
          assert.equal((await containerStatus(daemon, ids[0])).state, RUNNING);
          process.kill(shim, "SIGCONT");
          await until("it is adopted", async () => {
            const answer = await exec(daemon, ids[0], ["true"]).catch(() => undefined);
            return answer?.exitCode === 0;
          });
        }),
      ),
    ),
  );

  test(
    "whose sandboxer hangs forever is stopped and removed, with everything that it started",
    leakless(served, () =>
      inSandbox(bare(), async ({ id }) => {
        const shim = sandboxerOf(id);
        const { pid } = await infoOf(daemon, id);
        process.kill(shim, "SIGSTOP");
        await stopPod(daemon, id);
        await removePod(daemon, id);
        assert.ok(!isThere(shim) && !isThere(Number(pid)));
      }),
    ),
  );

  /** How a sandboxer leaves a daemon of its own behind. */
  const daemons: readonly (readonly [where: string, procs: (directory: string) => string])[] = [
    ["its own cgroup", () => ""],
    ["the pod's cgroup", (directory) => path.join(directory, "cgroup.procs")],
  ];
  for (const [where, procs] of daemons) {
    for (const ends of ["stops", "hangs", "is dead"] as const) {
      test(
        `whose sandboxer has left a daemon in ${where} and ${ends} goes with it`,
        leakless(served, async () => {
          const config = bare();
          const [directory = ""] = cgroupDirectories(parentOf(config)).filter((each) =>
            /\/(memory|unified)\//.test(`${each}/`),
          );
          rmSync(`${file}.left`, { force: true });
          setAnswers({ Platform: { does: "leave", procs: procs(directory) } });
          const id = await runPod(daemon, config, "sandboxer");
          const left = await until("it is left", () => leftBy(file));
          assert.ok(isThere(left));
          setAnswers({});
          const shim = sandboxerOf(id);
          if (ends === "hangs") process.kill(shim, "SIGSTOP");
          if (ends === "is dead") process.kill(shim, "SIGKILL");
          await stopPod(daemon, id);
          // A sandboxer that lives may need it until it is shut down.
          assert.equal(isThere(left), ends === "stops");
          await removePod(daemon, id);
          assert.ok(!isThere(left) && !isThere(shim));
        }),
      );
    }
  }

  test(
    "does not touch a cgroup that another pod uses, too",
    leakless(served, async () => {
      const config = bare();
      const [directory = ""] = cgroupDirectories(parentOf(config));
      setAnswers({});
      await inPod(daemon, config, async (other) => {
        const container = await runIn(other);
        const linux = { cgroupParent: parentOf(config) };
        const id = await runPod(daemon, bare({ linux }), "sandboxer");
        process.kill(sandboxerOf(id), "SIGKILL");
        await removePod(daemon, id);
        assert.equal((await containerStatus(daemon, container)).state, RUNNING);
        assert.ok(existsSync(directory));
      });
    }),
  );

  test(
    "whose shim was killed while there was no daemon is not ready",
    leaklessAcross(served, () =>
      inSandbox(bare(), async (pod) => {
        const shim = sandboxerOf(pod.id);
        await daemon.kill9();
        process.kill(shim, "SIGKILL");
        await launchDaemon(daemon);
        assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
      }),
    ),
  );

  test(
    "of runc's shim, whose sandbox API reports nothing, is not ready",
    leakless(served, async () => {
      const id = await runPod(daemon, bare(), "debian");
      const status = await until("it is not ready", async () => {
        const one = await statusOf(daemon, id);
        return one.state === NOTREADY ? one : undefined;
      });
      assert.ok(status.createdAt > 0n);
      await removePod(daemon, id);
    }),
  );
});
