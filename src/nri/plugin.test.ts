import assert from "node:assert/strict";
import path from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { messageOf, RuntimeError } from "../base/errors.ts";
import { scratchDirectory } from "../wire/grpc/testing/serving.ts";
import { type ConfigureRequest, evict, type Handlers, plugin, update } from "./index.ts";
import { FakeRuntime } from "./testing/fake-runtime.ts";
import { connected, method, pod, registering, rejection } from "./testing/registered.ts";

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
