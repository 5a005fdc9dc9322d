import assert from "node:assert/strict";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import type { DescMethodUnary } from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../base/errors.ts";
import { ContainerState, Event, Plugin as Service } from "../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { scratchDirectory } from "../wire/grpc/testing/serving.ts";
import {
  adjust,
  type ConfigureRequest,
  evict,
  type Handlers,
  type NriPlugin,
  type PluginOptions,
  plugin,
  update,
} from "./index.ts";
import { FakeRuntime, type RegisteredPlugin } from "./testing/fake-runtime.ts";

const { method } = Service;
const pod = { id: "p1", name: "web", namespace: "default", annotations: { team: "blue" } };
const container = { id: "c1", podSandboxId: "p1", name: "app", args: ["/app", "--verbose"] };
const allOldEvents = 0x7ff;

let directory: Awaited<ReturnType<typeof scratchDirectory>>;
let socket: string;
let count = 0;

before(async () => {
  directory = await scratchDirectory();
});
beforeEach(() => {
  count += 1;
  socket = path.join(directory.path, `${count}.sock`);
});
after(() => directory[Symbol.asyncDispose]());

/** A runtime, and a plugin with these handlers that has registered. The runtime has not configured it. */
async function registering(
  options: PluginOptions,
  work: (registered: RegisteredPlugin, local: NriPlugin, connected: Promise<void>) => Promise<void>,
): Promise<void> {
  await using runtime = await FakeRuntime.listen(socket);
  const local = plugin({ name: "test", index: 7, ...options });
  const connected = local.connect(socket);
  connected.catch(() => undefined);
  try {
    await work(await runtime.registered(), local, connected);
  } finally {
    local.close();
  }
}

/** The same, configured by the newest runtime. */
function connected(
  handlers: Handlers,
  work: (registered: RegisteredPlugin, local: NriPlugin) => Promise<void>,
): Promise<void> {
  return registering(handlers, async (registered, local, done) => {
    await registered.configure();
    await done;
    await work(registered, local);
  });
}

/** Calls a method by its name, whatever its types are. */
function callAny(
  to: RegisteredPlugin,
  name: keyof typeof method,
  request: Record<string, unknown>,
): Promise<object> {
  const any: DescMethodUnary = method[name];
  return to.call(any, request);
}

const rejection = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => assert.fail("it did not fail"),
    (error: unknown) => messageOf(error),
  );

describe("plugin() registers", () => {
  it("with its name, index and version", () =>
    connected({ runPodSandbox: () => undefined }, async ({ registration }, local) => {
      assert.equal(registration.pluginName, "test");
      assert.equal(registration.pluginIdx, "07");
      assert.match(registration.NRIVersion, /^v0\.\d+\.\d+$/);
      assert.deepEqual([local.name, local.index], ["test", "07"]);
      assert.deepEqual(local.runtime, { name: "fake", version: "1.0.0", nriVersion: "v0.12.2" });
    }));

  it("for the events that have a handler, and no others", () =>
    registering(
      { createContainer: () => undefined, validateContainerAdjustment: () => undefined },
      async (registered) => {
        assert.equal(await registered.configure(), (1 << 3) | (1 << 13));
      },
    ));

  it("for one event that costs nothing when it has none, because 0 means all", () =>
    registering({ synchronize: () => undefined }, async (registered) => {
      assert.equal(await registered.configure(), 1 << 2);
    }));

  it("without the events that an old runtime would refuse, and says which", async () => {
    let seen: ConfigureRequest | undefined;
    const handlers: Handlers = {
      configure(request) {
        seen = request;
      },
      createContainer: () => undefined,
      updatePodSandbox: () => undefined,
    };
    await registering(handlers, async (registered) => {
      const old = { runtimeName: "containerd", runtimeVersion: "1.7.24~ds1", config: "a: 1" };
      assert.equal(await registered.configure(old), 1 << 3);
      assert.deepEqual(seen?.unsupported, ["updatePodSandbox"]);
      assert.equal(seen.config, "a: 1");
      assert.equal(seen.requestTimeoutMs, 2000);
    });
  });

  it("not as a validator on a runtime that would not ask it", () =>
    registering({ validateContainerAdjustment: () => undefined }, async (registered, _, done) => {
      const old = { runtimeName: "cri-o", runtimeVersion: "1.33.1" };
      const failure = await rejection(registered.configure(old));
      assert.match(
        failure,
        /cri-o 1\.33\.1 does not know it and would create containers unchecked/,
      );
      assert.match(await rejection(done), /register plugin "07-test".*does not know it/);
    }));

  it("for what configure() returns", () =>
    registering(
      {
        configure: () => ["stopContainer"],
        createContainer: () => undefined,
        stopContainer: () => [],
      },
      async (registered) => assert.equal(await registered.configure(), 1 << 9),
    ));

  it("not when configure() throws: both sides get the reason", async () => {
    const failed: string[] = [];
    const handlers: Handlers = {
      configure() {
        throw new Error('the configuration has no "devices"');
      },
      runPodSandbox: () => undefined,
      failed: ({ handler, error }) => failed.push(`${handler}: ${messageOf(error)}`),
    };
    await registering(handlers, async (registered, local, done) => {
      assert.match(await rejection(registered.configure()), /has no "devices"/);
      assert.match(await rejection(done), /register plugin "07-test": .*has no "devices"/);
      assert.deepEqual(failed, ['configure: the configuration has no "devices"']);
      assert.equal(local.runtime, undefined);
    });
  });

  it("not when the runtime refuses it", async () => {
    await using runtime = await FakeRuntime.listen(socket);
    runtime.refusal = new RuntimeError("failed-precondition", "there are enough plugins");
    const local = plugin({ name: "test", index: "07", socket, runPodSandbox: () => undefined });
    assert.match(
      await rejection(local.run()),
      /register plugin "07-test".*there are enough plugins/,
    );
  });

  it("not without a runtime, with what to do", async () => {
    const local = plugin({ name: "test", index: 7, socket, runPodSandbox: () => undefined });
    assert.match(await rejection(local.run()), /connect to NRI at ".*\.sock".*ENOENT.*NRI enabled/);
  });

  it("not without a handler", () => {
    assert.throws(() => plugin({ name: "test", index: 7 }), /it handles no event/);
  });
});

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

describe("plugin() aborts the signal of a request", () => {
  /** A plugin whose handler waits for its signal, and what the handler saw. */
  function waiting(): { readonly handlers: Handlers; readonly reason: Promise<string> } {
    const seen = Promise.withResolvers<string>();
    const handlers: Handlers = {
      runPodSandbox: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => {
            seen.resolve(messageOf(signal.reason));
            reject(new Error("too late"));
          });
        }),
    };
    return { handlers, reason: seen.promise };
  }

  it("at the deadline of the call", async () => {
    const { handlers, reason } = waiting();
    await connected(handlers, async (registered) => {
      const call = registered.call(method.runPodSandbox, { pod }, { timeoutMs: 50 });
      await rejection(call);
      assert.match(await reason, /deadline/);
    });
  });

  it("at the timeout that the runtime has announced, for a call without a deadline", async () => {
    const { handlers, reason } = waiting();
    await registering(handlers, async (registered, _, done) => {
      await registered.configure({ NRIVersion: "0.12.0", requestTimeout: 30n });
      await done;
      const failure = await rejection(registered.call(method.runPodSandbox, { pod }));
      assert.equal(failure, "too late");
      assert.match(await reason, /runPodSandbox: the runtime waits for 30 ms only/);
    });
  });

  it("not at that timeout while it is synchronized, which may take as long as its registration", async () => {
    let isAborted: boolean | undefined;
    const handlers: Handlers = {
      async synchronize({ signal }) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        isAborted = signal.aborted;
      },
    };
    await registering(handlers, async (registered, _, done) => {
      const timeouts = { requestTimeout: 1n, registrationTimeout: 60_000n };
      await registered.configure({ NRIVersion: "0.12.0", ...timeouts });
      await done;
      await registered.call(method.synchronize, {});
      assert.equal(isAborted, false);
    });
  });

  it("when the connection is lost", async () => {
    const { handlers, reason } = waiting();
    await connected(handlers, async (registered) => {
      registered.call(method.runPodSandbox, { pod }).catch(() => undefined);
      // The requests of one connection arrive in order.
      await registered.call(method.shutdown, {});
      registered.close();
      assert.match(await reason, /disconnected/);
    });
  });
});

describe("updateContainers()", () => {
  it("sends updates and evictions, and returns the updates that failed", async () => {
    await using runtime = await FakeRuntime.listen(socket);
    runtime.onUpdate = ({ update: updates, evict: evictions }) => {
      assert.deepEqual(
        updates.map(({ containerId }) => containerId),
        ["c1", "c2"],
      );
      assert.deepEqual(
        evictions.map(({ containerId, reason }) => [containerId, reason]),
        [["c3", "noisy"]],
      );
      return { failed: updates.slice(1) };
    };
    const local = plugin({ name: "test", index: 7, runPodSandbox: () => undefined });
    await assert.rejects(local.updateContainers([]), /not connected/);
    const connecting = local.connect(socket);
    await (await runtime.registered()).configure();
    await connecting;
    const failed = await local.updateContainers([update("c1"), update("c2").cpusetCpus("0-1")], {
      evict: [evict("c3", "noisy")],
    });
    assert.equal(failed.length, 1);
    assert.equal(failed[0]?.containerId, "c2");
    assert.equal(failed[0].linux?.resources?.cpu?.cpus, "0-1");
    local.close();
    await assert.rejects(local.updateContainers([]), /not connected|closed/);
  });
});

describe("run()", () => {
  it("returns when the runtime ends, and reports it", async () => {
    await using runtime = await FakeRuntime.listen(socket);
    const ends: boolean[] = [];
    const local = plugin({
      name: "test",
      index: 7,
      socket,
      runPodSandbox: () => undefined,
      closed: ({ reconnects }) => ends.push(reconnects),
    });
    const ran = local.run();
    const registered = await runtime.registered();
    await registered.configure();
    registered.close();
    await ran;
    assert.deepEqual(ends, [false]);
    assert.equal(local.runtime, undefined);
  });

  it("connects again with reconnect, until close()", async () => {
    const events: string[] = [];
    const local = plugin({
      name: "test",
      index: 7,
      socket,
      reconnect: { initialDelayMs: 1, maxDelayMs: 4 },
      runPodSandbox: ({ pod: { id } }) => void events.push(id),
      closed: ({ reason, reconnects }) => {
        if (!reconnects) events.push("end");
        else if (!reason.includes("connect to NRI")) events.push("closed");
      },
    });
    // No runtime yet.
    const ran = local.run();
    for (const id of ["first", "second"]) {
      await using runtime = await FakeRuntime.listen(socket);
      const registered = await runtime.registered();
      await registered.configure();
      await registered.call(method.runPodSandbox, { pod: { id } });
    }
    await using runtime = await FakeRuntime.listen(socket);
    const registered = await runtime.registered();
    await registered.configure();
    await registered.call(method.runPodSandbox, { pod: { id: "third" } });
    local.close();
    await ran;
    await registered.closed;
    assert.deepEqual(events, ["first", "closed", "second", "closed", "third", "end"]);
  });

  it("does not try again when the runtime refuses the plugin", async () => {
    await using runtime = await FakeRuntime.listen(socket);
    runtime.refusal = new RuntimeError("invalid-argument", "no such index");
    const local = plugin({
      name: "test",
      index: 7,
      socket,
      reconnect: { initialDelayMs: 1 },
      runPodSandbox: () => undefined,
    });
    await assert.rejects(local.run(), /no such index/);
  });

  it("ends at close() also while there is no runtime", async () => {
    const local = plugin({
      name: "t",
      index: 7,
      socket,
      reconnect: true,
      runPodSandbox: () => undefined,
    });
    const ran = local.run();
    local.close();
    await ran;
  });
});
