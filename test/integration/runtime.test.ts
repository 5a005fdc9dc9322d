/** The RPCs about the runtime, and the daemon's socket, files and locks. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { CgroupDriver, ImageService, RuntimeService } from "../../src/gen/runtime/v1/api_pb.ts";
import { TestDaemon } from "../support/daemon.ts";
import { GrpcJsClient } from "../support/grpc-js-client.ts";
import {
  bare,
  code,
  endDaemon,
  launchDaemon,
  leakless,
  runPod,
  startDaemon,
  statusOf,
  withPod,
} from "../support/suites/pods.ts";
import { patient } from "../support/patience.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
});
after(() => endDaemon(daemon));

test("a strict umask of the daemon does not make the directories of containers inaccessible", async () => {
  const before = process.umask(0o077);
  try {
    await using strict = await startDaemon();
    const { root, state } = strict.paths;
    for (const directory of [`${root}/roots`, `${state}/sandboxes`, `${state}/ns/net`]) {
      assert.equal(statSync(directory).mode & 0o777, 0o711, directory);
    }
    assert.match(readFileSync(`/proc/${strict.pid}/status`, "utf8"), /^Umask:\t0022$/m);
  } finally {
    process.umask(before);
  }
});

describe("Version", () => {
  test("names davit and the API", async () => {
    const answer = await daemon.client.runtime.version({ version: "anything" });
    assert.equal(answer.version, "0.1.0");
    assert.equal(answer.runtimeName, "davit");
    assert.equal(answer.runtimeApiVersion, "v1");
    const manifest = JSON.parse(
      readFileSync(path.join(import.meta.dirname, "../../package.json"), "utf8"),
    ) as { version: string };
    assert.equal(answer.runtimeVersion, manifest.version);
  });

  test("answers grpc-js, too", async () => {
    using client = new GrpcJsClient(daemon.paths.socket);
    const answer = await client.unary(RuntimeService.method.version, {});
    assert.equal(answer.runtimeName, "davit");
  });
});

describe("Status", () => {
  test("says that runtime and network are ready, and what the handlers can do", async () => {
    const answer = await daemon.client.runtime.status({});
    const crun = answer.runtimeHandlers.find(({ name }) => name === "crun");
    assert.equal(crun?.features?.recursiveReadOnlyMounts, true);
    const conditions = answer.status?.conditions.map(({ type, status }) => [type, status]);
    assert.deepEqual(conditions, [
      ["RuntimeReady", true],
      ["NetworkReady", true],
    ]);
    assert.deepEqual(answer.info, {});
    const handlers = answer.runtimeHandlers;
    assert.deepEqual(
      handlers.map(({ name }) => name),
      ["", "crun", "runc"],
    );
    // The default handler is listed by its own name and by the empty name.
    assert.deepEqual(handlers[0]?.features, handlers[1]?.features);
    // runc 1.1 makes no id-mapped mounts.
    const mapped = handlers.filter(({ features }) => features?.userNamespaces === true);
    assert.deepEqual(
      mapped.map(({ name }) => name),
      ["", "crun"],
    );
    assert.equal(answer.features?.supplementalGroupsPolicy, true);
  });

  test("has the facts for an operator if it is verbose, each as JSON", async () => {
    const { info } = await daemon.client.runtime.status({ verbose: true });
    for (const key of ["config", "node", "cniconfig", "lastCNILoadStatus"]) {
      assert.ok(info[key] !== undefined, `verbose Status has no "${key}"`);
    }
    const checkpoints = JSON.parse(info["checkpoints"] ?? "") as object;
    const handlers = ["", "crun", "runc"];
    assert.deepEqual(checkpoints, { handlers, restore: "own", restoreContainers: false });
    assert.equal(info["paused"], "[]");
    const config = JSON.parse(info["config"] ?? "") as {
      root: string;
      runtime: { defaultHandler: string };
      maxContainerLogLineSize: number;
    };
    assert.equal(config.maxContainerLogLineSize, 16_384);
    assert.equal(config.root, daemon.paths.root);
    assert.equal(config.runtime.defaultHandler, "crun");
    const cni = JSON.parse(info["cniconfig"] ?? "") as {
      PluginConfDir: string;
      Networks: { Config: { Name: string } }[];
    };
    assert.equal(cni.PluginConfDir, daemon.paths.confDir);
    assert.equal(cni.Networks[0]?.Config.Name, "davit-test");
    assert.equal(info["lastCNILoadStatus"], "OK");
    for (const key of ["inflight", "pendingNetworkRemovals", "recordsSetAside"]) {
      assert.deepEqual(JSON.parse(info[key] ?? ""), [], key);
    }
  });
});

describe("RuntimeConfig and UpdateRuntimeConfig", () => {
  test("return the cgroup driver, and accept what the kubelet sends", async () => {
    const { linux } = await daemon.client.runtime.runtimeConfig({});
    assert.equal(linux?.cgroupDriver, CgroupDriver.CGROUPFS);
    await daemon.client.runtime.updateRuntimeConfig({});
    await daemon.client.runtime.updateRuntimeConfig({
      runtimeConfig: { networkConfig: { podCidr: "10.244.0.0/24" } },
    });
  });
});

describe("the RPCs of the CRI", () => {
  type Call = (request: object) => Promise<unknown> | AsyncIterable<unknown>;

  test("are all implemented", async () => {
    for (const service of [RuntimeService, ImageService]) {
      const { runtime, image } = daemon.client;
      const client = (service === RuntimeService ? runtime : image) as unknown as Record<
        string,
        Call
      >;
      for (const { localName, name } of service.methods) {
        // It never ends; see events.test.ts.
        if (localName === "getContainerEvents") continue;
        const call = client[localName];
        assert.ok(call !== undefined);
        const failure = await drain(call({})).then(
          () => undefined,
          (error: unknown) => error,
        );
        assert.notEqual((failure as { code?: number } | undefined)?.code, code.unimplemented, name);
      }
    }
  });

  async function drain(answer: Promise<unknown> | AsyncIterable<unknown>): Promise<void> {
    if (answer instanceof Promise) await answer;
    else for await (const _ of answer);
  }
});

describe("the daemon", () => {
  test("serves a socket for its owner and group only", () => {
    assert.equal(statSync(daemon.paths.socket).mode & 0o7777, 0o660);
  });

  test("keeps what is on disk from other users", () => {
    const { root } = daemon.paths;
    assert.equal(statSync(path.join(root, "davit.db")).mode & 0o777, 0o600);
  });

  for (const shared of ["root", "state"] as const) {
    test(
      `refuses to start if another one uses the same ${shared}, with a clear error`,
      leakless(served, async () => {
        await using second = TestDaemon.prepare();
        second.writeConfig({ [shared]: daemon.paths[shared] });
        second.launch();
        const { code: exit } = await second.exited;
        assert.notEqual(exit, 0);
        const said = second.lines.map(({ text }) => text).join("\n");
        assert.match(
          said,
          /start davit \d\S+: another davit daemon of version \d\S+, process \d+, uses/,
        );
        assert.ok(said.includes(daemon.paths[shared]), said);
        assert.doesNotMatch(said, /\n\s+at /);
        await daemon.client.runtime.version({});
      }),
    );
  }

  test(
    "waits for the lock of a daemon that has ended, which a process that it started may have for a moment",
    leakless(served, async () => {
      await using second = TestDaemon.prepare();
      const lock = path.join(second.paths.root, "davit.lock");
      mkdirSync(second.paths.root, { recursive: true });
      // No process has this number: the kernel's largest is smaller.
      writeFileSync(lock, "99999999\n");
      const holder = spawn("flock", [lock, "sh", "-c", "echo held; sleep 0.3"]);
      await once(holder.stdout, "data");
      second.launch();
      await second.ready();
      await second.stop();
    }),
  );

  test(
    "refuses to take another daemon's socket away",
    leakless(served, async () => {
      await using second = TestDaemon.prepare();
      second.writeConfig({ server: { listen: daemon.paths.socket } });
      second.launch();
      const { code: exit } = await second.exited;
      assert.notEqual(exit, 0);
      const said = second.lines.map(({ text }) => text).join("\n");
      assert.ok(said.includes(daemon.paths.socket), said);
      assert.match(said, /start davit \d\S+: davit \d\S+, process \d+ \(\w+\) serves the socket/);
      await daemon.client.runtime.version({});
      await withPod(daemon, bare(), async () => undefined);
    }),
  );

  test("replaces a socket that no process serves any more", async () => {
    await daemon.kill9();
    assert.ok(existsSync(daemon.paths.socket));
    await launchDaemon(daemon);
    assert.equal(statSync(daemon.paths.socket).mode & 0o7777, 0o660);
    await daemon.client.runtime.version({});
  });

  test("does not replace a file that is not a socket", async () => {
    await using other = TestDaemon.prepare();
    const file = path.join(other.paths.directory, "precious");
    writeFileSync(file, "keep me");
    other.writeConfig({ server: { listen: file } });
    other.launch();
    const { code: exit } = await other.exited;
    assert.notEqual(exit, 0);
    assert.equal(readFileSync(file, "utf8"), "keep me");
  });

  const skip = existsSync("/run/systemd/system") && "systemd runs this host";
  test("does not start with systemd's cgroups where there is no systemd", { skip }, async () => {
    await using other = TestDaemon.prepare({ config: { runtime: { cgroup_driver: "systemd" } } });
    other.launch();
    assert.notEqual((await other.exited).code, 0);
    assert.match(other.tail(5), /this host does not run systemd.*set it to \W*cgroupfs/);
  });

  test("removes its socket when it ends, and does not wait for idle clients", async () => {
    const id = await runPod(daemon, bare());
    const begin = performance.now();
    assert.deepEqual(await daemon.stop(), { code: 0, signal: null });
    assert.ok(performance.now() - begin < patient(5000));
    assert.equal(existsSync(daemon.paths.socket), false);
    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, id)).id, id);
    await daemon.client.runtime.removePodSandbox({ podSandboxId: id });
  });
});
