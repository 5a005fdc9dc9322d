import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { messageOf } from "../base/errors.ts";
import { ContainerState, Event } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { adjust, evict, type Handlers, update } from "./index.ts";
import {
  callAny,
  connected,
  container,
  method,
  pod,
  registering,
  rejection,
} from "./testing/registered.ts";

const allOldEvents = 0x7ff;

describe("plugin() handles", () => {
  it("a new container: the handler sees it, and its adjustment arrives", () =>
    connected(
      {
        createContainer({ pod: { annotations }, container: { args, name } }) {
          assert.deepEqual(args, ["/app", "--verbose"]);
          return adjust()
            .env("TEAM", `${annotations["team"]}-${name}`)
            .memoryLimit(1 << 20);
        },
      },
      async (registered) => {
        const { adjust: got, update: others } = await registered.call(method.createContainer, {
          pod,
          container,
        });
        assert.ok(got);
        assert.deepEqual(
          got.env.map(({ key, value }) => [key, value]),
          [["TEAM", "blue-app"]],
        );
        assert.equal(got.linux?.resources?.memory?.limit?.value, 1n << 20n);
        assert.deepEqual(others, []);
      },
    ));

  it("a new container that changes others, too", () =>
    connected(
      {
        createContainer: () => ({
          adjust: adjust().oomScoreAdj(-5),
          updates: [update("c0").cpuShares(2)],
          evict: [evict("c9", "it is in the way")],
        }),
      },
      async (registered) => {
        const got = await registered.call(method.createContainer, { pod, container });
        assert.equal(got.adjust?.linux?.oomScoreAdj?.value, -5n);
        assert.equal(got.update[0]?.containerId, "c0");
        assert.equal(got.update[0].linux?.resources?.cpu?.shares?.value, 2n);
        assert.equal(got.evict[0]?.reason, "it is in the way");
      },
    ));

  it("an update and a stop with updates", () =>
    connected(
      {
        updateContainer({ linuxResources, container: { id } }) {
          return [update(id).cpuShares(Number(linuxResources?.cpu?.shares ?? 0n) * 2)];
        },
        stopContainer: async () => [update("c2").pidsLimit(5).ignoreFailure()],
      },
      async (registered) => {
        const linuxResources = { cpu: { shares: { value: 100n } } };
        const updated = await registered.call(method.updateContainer, {
          pod,
          container,
          linuxResources,
        });
        assert.equal(updated.update[0]?.linux?.resources?.cpu?.shares?.value, 200n);
        const stopped = await registered.call(method.stopContainer, { pod, container });
        assert.equal(stopped.update[0]?.ignoreFailure, true);
      },
    ));

  it("every event that has no answer, by its method and by StateChange", async () => {
    const seen: string[] = [];
    const note = (name: string) => (request: { readonly pod: { readonly id: string } }) => {
      const of = "container" in request ? (request.container as { readonly id: string }).id : "";
      seen.push(`${name} ${request.pod.id} ${of}`.trim());
    };
    const ofPods = [
      ["runPodSandbox", Event.RUN_POD_SANDBOX],
      ["stopPodSandbox", Event.STOP_POD_SANDBOX],
      ["removePodSandbox", Event.REMOVE_POD_SANDBOX],
      ["postUpdatePodSandbox", Event.POST_UPDATE_POD_SANDBOX],
    ] as const;
    const ofContainers = [
      ["postCreateContainer", Event.POST_CREATE_CONTAINER],
      ["startContainer", Event.START_CONTAINER],
      ["postStartContainer", Event.POST_START_CONTAINER],
      ["postUpdateContainer", Event.POST_UPDATE_CONTAINER],
      ["removeContainer", Event.REMOVE_CONTAINER],
    ] as const;
    const names = [...ofPods, ...ofContainers].map(([name]) => name);
    const handlers = Object.fromEntries(names.map((name) => [name, note(name)]));
    await connected(handlers, async (registered) => {
      for (const [name] of ofPods) await callAny(registered, name, { pod });
      for (const [name] of ofContainers) await callAny(registered, name, { pod, container });
      const expected = [
        ...ofPods.map(([name]) => `${name} p1`),
        ...ofContainers.map(([name]) => `${name} p1 c1`),
      ];
      assert.deepEqual(seen, expected);
      seen.length = 0;
      for (const [, event] of ofPods) await registered.call(method.stateChange, { event, pod });
      for (const [, event] of ofContainers)
        await registered.call(method.stateChange, { event, pod, container });
      assert.deepEqual(seen, expected);
    });
  });

  it("an update of a pod with its resources", async () => {
    let limit: bigint | undefined;
    const handlers: Handlers = {
      updatePodSandbox({ linuxResources }) {
        limit = linuxResources?.memory?.limit;
      },
    };
    await connected(handlers, async (registered) => {
      const linuxResources = { memory: { limit: { value: 5n } } };
      await registered.call(method.updatePodSandbox, { pod, linuxResources });
      assert.equal(limit, 5n);
    });
  });

  it("events that have no handler, and some of a newer runtime, with an empty answer", () =>
    connected({ synchronize: () => undefined }, async (registered) => {
      await registered.call(method.runPodSandbox, { pod });
      const created = await registered.call(method.createContainer, { pod, container });
      assert.equal(created.adjust, undefined);
      await registered.call(method.stateChange, { event: 77 as Event, pod });
      await registered.call(method.stateChange, { event: Event.RUN_POD_SANDBOX, pod });
      await registered.call(method.shutdown, {});
    }));

  it("the end of the runtime", async () => {
    let ends = 0;
    const handlers: Handlers = {
      runPodSandbox: () => undefined,
      shutdown() {
        ends += 1;
      },
    };
    await connected(handlers, async (registered) => {
      await registered.call(method.shutdown, {});
      assert.equal(ends, 1);
    });
  });

  it("validation: what it throws is the reason of the rejection", () =>
    connected(
      {
        validateContainerAdjustment({ adjust: adjustment, plugins, owners }) {
          const names = plugins.map(({ index, name }) => `${index}-${name}`).join();
          const owner = owners?.owners["c1"]?.compound["6"]?.owners["A"];
          if (adjustment?.env.some(({ key }) => key === "A"))
            throw new Error(`A is set by ${owner} of ${names}`);
        },
      },
      async (registered) => {
        const env = [{ key: "A", value: "b" }];
        const bad = await registered.call(method.validateContainerAdjustment, {
          pod,
          container,
          adjust: { env },
          owners: { owners: { c1: { compound: { 6: { owners: { A: "setter" } } } } } },
          plugins: [{ name: "setter", index: "10" }],
        });
        assert.equal(bad.reject, true);
        assert.equal(bad.reason, "A is set by setter of 10-setter");
        const good = await registered.call(method.validateContainerAdjustment, { pod, container });
        assert.equal(good.reject, false);
      },
    ));

  it("an old runtime, which reports some events by StateChange and says no timeout", async () => {
    const seen: string[] = [];
    const handlers: Handlers = {
      runPodSandbox: () => void seen.push("run"),
      createContainer: () => adjust().env("A", "b"),
      startContainer: () => void seen.push("start"),
    };
    await registering(handlers, async (registered, _, done) => {
      const old = { runtimeName: "containerd", runtimeVersion: "v1.7.24" };
      assert.equal(await registered.configure(old), (1 << 0) | (1 << 3) | (1 << 5));
      await done;
      await registered.call(method.stateChange, { event: Event.RUN_POD_SANDBOX, pod });
      const { adjust: got } = await registered.call(method.createContainer, { pod, container });
      assert.equal(got?.env[0]?.key, "A");
      await registered.call(method.stateChange, { event: Event.START_CONTAINER, pod, container });
      assert.deepEqual(seen, ["run", "start"]);
    });
  });

  it("all events of an old runtime", () => {
    const names = Object.keys(method).filter((name) => /Sandbox$|Container$/.test(name));
    const handlers = Object.fromEntries(names.map((name) => [name, () => undefined]));
    return registering(handlers, async (registered) => {
      const old = { runtimeName: "containerd", runtimeVersion: "2.1.6" };
      assert.equal(await registered.configure(old), allOldEvents);
      assert.equal(await registered.configure(), 0x1fff);
    });
  });
});

describe("plugin() synchronizes", () => {
  it("with the pods and containers of several messages at once", async () => {
    const seen: string[][] = [];
    const handlers: Handlers = {
      synchronize({ pods, containers }) {
        seen.push([...pods, ...containers].map(({ id }) => id));
        assert.equal(containers[0]?.state, "CONTAINER_RUNNING");
        return [update("c1").blockioClass("slow")];
      },
    };
    await connected(handlers, async (registered) => {
      const running = { ...container, state: ContainerState.CONTAINER_RUNNING };
      const first = await registered.call(method.synchronize, {
        pods: [pod],
        containers: [running],
        more: true,
      });
      assert.deepEqual([first.more, first.update.length, seen.length], [true, 0, 0]);
      const second = await registered.call(method.synchronize, {
        pods: [{ ...pod, id: "p2" }],
        containers: [{ ...container, id: "c2" }],
      });
      assert.equal(second.more, false);
      assert.equal(second.update[0]?.linux?.resources?.blockioClass?.value, "slow");
      assert.deepEqual(seen, [["p1", "p2", "c1", "c2"]]);
      // The next one begins with nothing.
      await registered.call(method.synchronize, { containers: [running] });
      assert.deepEqual(seen[1], ["c1"]);
    });
  });

  it("as the protocol demands when it has no handler for it", () =>
    connected({ runPodSandbox: () => undefined }, async (registered) => {
      const first = await registered.call(method.synchronize, { pods: [pod], more: true });
      assert.equal(first.more, true);
      const last = await registered.call(method.synchronize, { pods: [pod] });
      assert.deepEqual([last.more, last.update], [false, []]);
    }));

  it("in a message of several megabytes", async () => {
    let length = 0;
    const handlers: Handlers = {
      synchronize({ pods }) {
        length = pods[0]?.annotations["large"]?.length ?? 0;
        return [update("c1").unified("memory.high", "1".repeat(3_000_000))];
      },
    };
    await connected(handlers, async (registered) => {
      const large = "x".repeat(3_000_000);
      const got = await registered.call(method.synchronize, {
        pods: [{ ...pod, annotations: { large } }],
      });
      assert.equal(length, large.length);
      const value = got.update[0]?.linux?.resources?.unified["memory.high"];
      assert.equal(value?.length, 3_000_000);
    });
  });
});

describe("plugin() reports", () => {
  it("what a handler throws, to the runtime and to failed()", async () => {
    const failed: string[] = [];
    const handlers: Handlers = {
      createContainer: async ({ container: { name } }) => {
        throw new Error(`container "${name}" has no license`);
      },
      failed: ({ handler, error }) => failed.push(`${handler}: ${messageOf(error)}`),
    };
    await connected(handlers, async (registered) => {
      const failure = await rejection(registered.call(method.createContainer, { pod, container }));
      assert.equal(failure, 'container "app" has no license');
      assert.deepEqual(failed, ['createContainer: container "app" has no license']);
    });
  });

  it("a result that is not one", async () => {
    const results: unknown[] = [
      update("c1"),
      adjust().build(),
      5,
      { updates: [{ containerId: "c1", linux: { resource: {} }, ignoreFailure: false }] },
      { adjust: { rlimits: [{ type: "RLIMIT_NOFILE", hard: -1, soft: 1 }] } },
    ];
    const reasons = [
      /createContainer: it returned an update: return a list of updates/,
      /createContainer: its result has no field "annotations"/,
      /createContainer: it returned 5/,
      /CreateContainerResponse\.update\[0\]\.linux: there is no field "resource"/,
      /CreateContainerResponse\.adjust\.rlimits\[0\]\.hard: expected from 0 to 18446744073709551615, got -1/,
    ];
    let failures = 0;
    const handlers: Handlers = {
      createContainer: () => results.shift() as never,
      failed: () => {
        failures += 1;
      },
    };
    await connected(handlers, async (registered) => {
      for (const reason of reasons) {
        const got = await rejection(registered.call(method.createContainer, { pod, container }));
        assert.match(got, reason);
      }
    });
    assert.equal(failures, reasons.length);
  });

  it("a request without a pod", () =>
    connected({ runPodSandbox: () => undefined }, async (registered) => {
      const failure = await rejection(registered.call(method.runPodSandbox, {}));
      assert.match(failure, /runPodSandbox: the request has no pod/);
    }));
});
