/** The lifecycle of a container through the socket: states, times, exit codes, lists and statuses. */
// variants: shim, untuned
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { patient } from "../support/patience.ts";
import {
  CREATED,
  container,
  containerInfo,
  containerStatus,
  createIn,
  EXITED,
  exited,
  inPod,
  Node,
  pidOf,
  remove,
  RUNNING,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  removePod,
  runPod,
  stopPod,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

const now = (): bigint => BigInt(Date.now()) * 1_000_000n;

describe("a container's life", () => {
  test(
    "goes through created, running and exited, each with its timestamp",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const begin = now() - 1_000_000n;
        const id = await createIn(pod);
        assert.match(id, /^[0-9a-f]{64}$/);
        const created = await containerStatus(daemon, id);
        assert.equal(created.state, CREATED);
        assert.ok(created.createdAt >= begin && created.createdAt <= now());
        assert.deepEqual([created.startedAt, created.finishedAt], [0n, 0n]);
        assert.equal((await containerInfo(daemon, id))["pid"], 0);
        await start(daemon, id);
        const running = await containerStatus(daemon, id);
        assert.equal(running.state, RUNNING);
        assert.ok(running.startedAt >= created.createdAt && running.startedAt <= now());
        assert.equal(running.finishedAt, 0n);
        const pid = await pidOf(daemon, id);
        assert.equal(readFileSync(`/proc/${pid}/cmdline`, "utf8"), "sleep\u0000100000\u0000");
        await stop(daemon, id);
        const ended = await containerStatus(daemon, id);
        assert.equal(ended.state, EXITED, "it is exited when StopContainer answers");
        assert.equal(ended.exitCode, 137);
        assert.equal(ended.reason, "Error");
        assert.ok(ended.finishedAt >= running.startedAt && ended.finishedAt <= now());
        assert.equal(ended.startedAt, running.startedAt);
        assert.ok(!existsSync(`/proc/${pid}`));
        await remove(daemon, id);
        await assert.rejects(containerStatus(daemon, id), failsWith(code.notFound));
      }),
    ),
  );

  for (const state of ["created", "running", "exited"] as const) {
    test(
      `can be removed while it is ${state}`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const id = await createIn(pod);
          if (state !== "created") await start(daemon, id);
          if (state === "exited") await stop(daemon, id);
          await remove(daemon, id);
          assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
        }),
      ),
    );
  }

  test(
    "starts once, not after it has exited and not in a stopped pod",
    leakless(served, async () => {
      const config = bare();
      const pod = { daemon, config, id: await runPod(daemon, config) };
      const id = await runIn(pod);
      await assert.rejects(start(daemon, id), failsWith(code.failedPrecondition, /running/));
      await stop(daemon, id);
      await assert.rejects(start(daemon, id), failsWith(code.failedPrecondition, /exited/));
      const created = await createIn(pod);
      await stopPod(daemon, pod.id);
      await assert.rejects(start(daemon, created), failsWith(code.failedPrecondition, /not ready/));
      await assert.rejects(createIn(pod), failsWith(code.failedPrecondition, /not ready/));
      await removePod(daemon, pod.id);
      await assert.rejects(createIn(pod), failsWith(code.notFound));
    }),
  );

  test(
    "is found by a prefix of its id; missing, empty and ambiguous ids have different errors",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const ids: string[] = [];
        // Of 17 ids two begin with the same digit.
        for (let n = 0; n < 17; n++) ids.push(await createIn(pod));
        const [id = ""] = ids;
        assert.equal((await containerStatus(daemon, id.slice(0, 16))).id, id);
        const first = ids.map((each) => each.slice(0, 1));
        const twice = first.find((digit, at) => first.indexOf(digit) !== at) ?? "";
        await assert.rejects(containerStatus(daemon, twice), failsWith(code.invalidArgument));
        await assert.rejects(containerStatus(daemon, ""), failsWith(code.invalidArgument));
        await assert.rejects(start(daemon, "0".repeat(64)), failsWith(code.notFound));
        await start(daemon, id.slice(0, 16));
        await stop(daemon, id.slice(0, 16));
        await remove(daemon, id.slice(0, 16));
        await assert.rejects(containerStatus(daemon, id), failsWith(code.notFound));
        await stop(daemon, id);
        await remove(daemon, id);
        await assert.rejects(stop(daemon, ""), failsWith(code.invalidArgument));
        await assert.rejects(remove(daemon, ""), failsWith(code.invalidArgument));
      }),
    ),
  );

  test(
    "ends with its pod: stopped by StopPodSandbox, removed by RemovePodSandbox",
    leakless(served, async () => {
      const config = bare();
      const pod = { daemon, config, id: await runPod(daemon, config) };
      // They ignore TERM, so only KILL ends them in time.
      const deaf = (): ReturnType<typeof script> => script("trap '' TERM; sleep 100000");
      const ids = [await runIn(pod, deaf()), await runIn(pod, deaf()), await createIn(pod)];
      const begin = performance.now();
      await stopPod(daemon, pod.id);
      assert.ok(performance.now() - begin < patient(5000));
      const states = await Promise.all(ids.map((id) => containerStatus(daemon, id)));
      assert.deepEqual(
        states.map(({ state }) => state),
        [EXITED, EXITED, CREATED],
      );
      assert.deepEqual(
        states.map(({ exitCode }) => exitCode),
        [137, 137, 0],
      );
      await removePod(daemon, pod.id);
      for (const id of ids) {
        await assert.rejects(containerStatus(daemon, id), failsWith(code.notFound));
      }
    }),
  );
});

describe("the end of a process", () => {
  const cases = {
    "exit 0": { exitCode: 0, reason: "Completed" },
    "exit 1": { exitCode: 1, reason: "Error" },
    "exit 42": { exitCode: 42, reason: "Error" },
    "(sh -c 'kill -9 $$'); exit $?": { exitCode: 137, reason: "Error" },
  };
  for (const [text, want] of Object.entries(cases)) {
    test(
      `${text} is exit code ${want.exitCode}, reason ${want.reason}`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const id = await runIn(pod, script(text));
          const { exitCode, reason } = await exited(daemon, id);
          assert.deepEqual({ exitCode, reason }, want);
        }),
      ),
    );
  }

  test(
    "because of its memory limit is OOMKilled, 137",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const limit = 16n << 20n;
        const resources = { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit };
        const command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=10"];
        const id = await runIn(pod, container({ command, linux: { resources } }));
        const { exitCode, reason } = await exited(daemon, id);
        assert.deepEqual({ exitCode, reason }, { exitCode: 137, reason: "OOMKilled" });
      }),
    ),
  );

  test(
    "ends the background processes that it left",
    leakless(served, () =>
      inPod(daemon, bare({}), async (pod) => {
        const id = await runIn(pod, script("setsid sleep 100000 & read -t 0.2 x; exit 3"));
        assert.equal((await exited(daemon, id)).exitCode, 3);
      }),
    ),
  );

  for (const [what, command] of Object.entries({
    "is not in the image": ["/no/such/command"],
    "is not executable": ["/etc/passwd"],
  })) {
    test(
      `a command that ${what} fails the start: StartError, 128, with the runtime's words`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const id = await createIn(pod, container({ command }));
          await assert.rejects(start(daemon, id), (error: Error) => {
            assert.match(error.message, new RegExp(command[0] ?? ""));
            return true;
          });
          const status = await containerStatus(daemon, id);
          assert.equal(status.state, EXITED);
          assert.equal(status.reason, "StartError");
          assert.equal(status.exitCode, 128);
          assert.match(status.message, new RegExp(command[0] ?? ""));
          assert.equal(status.startedAt, 0n);
          assert.ok(status.finishedAt >= status.createdAt);
        }),
      ),
    );
  }
});

describe("CreateContainer", () => {
  test(
    "refuses an invalid request, and leaves nothing",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const create = (config: Parameters<typeof createIn>[1]): Promise<string> =>
          createIn(pod, config);
        const absent = container({ image: { image: "registry.k8s.io/absent:1" } });
        await assert.rejects(create(absent), failsWith(code.notFound, /pull it first/));
        const { metadata: _, ...nameless } = container();
        await assert.rejects(create(nameless), failsWith(code.invalidArgument, /metadata/));
        const { image: __, ...imageless } = container();
        await assert.rejects(create(imageless), failsWith(code.invalidArgument, /image/));
        const linux = { securityContext: { runAsUsername: "stranger" } };
        const stranger = create(container({ linux }));
        await assert.rejects(stranger, failsWith(code.invalidArgument, /stranger/));
        const group = { securityContext: { runAsGroup: { value: 5n } } };
        await assert.rejects(create(container({ linux: group })), failsWith(code.invalidArgument));
        const relative = [{ hostPath: "tmp", containerPath: "/x" }];
        await assert.rejects(
          create(container({ mounts: relative })),
          failsWith(code.invalidArgument),
        );
        const unconfigured = { podSandboxId: pod.id, sandboxConfig: pod.config };
        await assert.rejects(
          daemon.client.runtime.createContainer(unconfigured),
          failsWith(code.invalidArgument),
        );
        assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
      }),
    ),
  );

  test(
    "refuses a name that is in use, and names the container; another attempt is another name",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const config = container();
        const id = await createIn(pod, config);
        await assert.rejects(createIn(pod, config), failsWith(code.alreadyExists, new RegExp(id)));
        const name = config.metadata?.name ?? "";
        const next = await createIn(pod, { ...config, metadata: { name, attempt: 1 } });
        assert.notEqual(next, id);
        await remove(daemon, id);
        await createIn(pod, config);
      }),
    ),
  );
});
