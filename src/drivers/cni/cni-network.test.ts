import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Attachment, NetworkRequest } from "../../core/network/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import { CniNetwork, type CniNetworkOptions } from "./cni-network.ts";
import type { PluginCall, PluginExit } from "./plugin-exec.ts";
import { patient } from "../../../test/support/patience.ts";

const request: NetworkRequest = {
  sandboxId: "s1",
  netnsPath: "/run/netns/s1",
  podName: "web",
  podNamespace: "shop",
  podUid: "u1",
  annotations: {},
  portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIp: "" }],
  dns: { servers: [], searches: [], options: [] },
  cgroupPath: "",
};

const bridgeResult = {
  cniVersion: "1.0.0",
  interfaces: [{ name: "cni0" }, { name: "eth0", sandbox: "/run/netns/s1" }],
  ips: [{ address: "10.0.0.2/24", interface: 1 }],
};

const chain = [
  { type: "bridge", ipam: { type: "host-local" } },
  { type: "portmap", capabilities: { portMappings: true } },
];

interface Call {
  readonly plugin: string;
  readonly command: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly config: Readonly<Record<string, unknown>>;
}

const exit = (code: number, stdout: string, stderr = ""): PluginExit => ({
  code,
  signal: null,
  stdout: Buffer.from(stdout),
  stderr: Buffer.from(stderr),
});
const ok = (answer: object): PluginExit => exit(0, JSON.stringify(answer));
const fail = (code: number, msg: string, details = ""): PluginExit =>
  exit(1, JSON.stringify({ cniVersion: "1.0.0", code, msg, details }));

describe("CniNetwork", () => {
  let base: string;
  let calls: Call[];
  let marks: string[];
  let recorded: Attachment[];
  let behave: (call: Call, raw: PluginCall) => PluginExit | Promise<PluginExit>;
  let networks: CniNetwork[];

  const file = (): string => join(base, "net.d", "1.conflist");
  const write = (more: object = {}): void =>
    writeFileSync(
      file(),
      JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins: chain, ...more }),
    );
  const open = async (more: Partial<CniNetworkOptions> = {}): Promise<CniNetwork> => {
    const network = await CniNetwork.open({
      confDir: join(base, "net.d"),
      binDirs: [join(base, "empty"), join(base, "bin")],
      bootId: "boot-1",
      log: silentLogger,
      rescanIntervalMs: 3_600_000,
      statusIntervalMs: 3_600_000,
      env: { PATH: "/bin", CNI_NETNS: "/of/somebody/else" },
      isNamespaceMounted: () => true,
      exec: async (raw) => {
        const call: Call = {
          plugin: raw.file.slice(raw.file.lastIndexOf("/") + 1),
          command: raw.env["CNI_COMMAND"],
          env: raw.env,
          config: JSON.parse(raw.input) as Record<string, unknown>,
        };
        calls.push(call);
        marks.push(`${call.command ?? ""} ${call.plugin}`);
        return behave(call, raw);
      },
      ...more,
    });
    networks.push(network);
    return network;
  };
  const operation = (signal = new AbortController().signal): Operation => ({
    signal,
    log: silentLogger,
    undoing: () => Promise.resolve(),
    workOn: (stage, plugin) => marks.push(`${stage} ${plugin}`),
    enter: async (stage) => {
      signal.throwIfAborted();
      marks.push(stage);
    },
  });
  const record = (attachment: Attachment): void => {
    marks.push(attachment.result === undefined ? "record" : "record result");
    recorded.push(attachment);
  };
  const add = (network: CniNetwork, more: Partial<NetworkRequest> = {}): Promise<unknown> =>
    network.add({ ...request, ...more }, operation(), record);
  const signal = new AbortController().signal;
  const lastRecord = (): Attachment => {
    const last = recorded.at(-1);
    assert.ok(last);
    return last;
  };

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), "cni-network-"));
    mkdirSync(join(base, "net.d"));
    mkdirSync(join(base, "bin"));
    for (const type of ["bridge", "portmap"]) {
      writeFileSync(join(base, "bin", type), "#!/bin/sh\n", { mode: 0o755 });
    }
    write();
    calls = [];
    marks = [];
    recorded = [];
    networks = [];
    behave = ({ command }) => (command === "ADD" ? ok(bridgeResult) : exit(0, ""));
  });
  afterEach(async () => {
    for (const network of networks) await network[Symbol.asyncDispose]();
    rmSync(base, { recursive: true });
  });

  describe("add()", () => {
    test("records, runs the plugins in order, and records the result", async () => {
      const network = await open();
      const result = await add(network);
      assert.deepEqual(result, { ips: ["10.0.0.2"], result: JSON.stringify(bridgeResult) });
      assert.deepEqual(marks, [
        "record",
        "add-network bridge",
        "ADD bridge",
        "network-plugin-done",
        "add-network portmap",
        "ADD portmap",
        "network-plugin-done",
        "record result",
      ]);
      assert.equal(lastRecord().bootId, "boot-1");
      assert.equal(lastRecord().result, JSON.stringify(bridgeResult));
      assert.equal(lastRecord().removal, undefined);
    });

    test("gives each plugin its environment and configuration", async () => {
      await add(await open());
      const [bridge, portmap] = calls;
      assert.deepEqual(bridge?.env, {
        PATH: "/bin",
        CNI_PATH: `${base}/empty:${base}/bin`,
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: "s1",
        CNI_NETNS: "/run/netns/s1",
        CNI_IFNAME: "eth0",
        CNI_ARGS:
          "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u1",
      });
      assert.deepEqual(bridge.config, { ...chain[0], name: "pods", cniVersion: "1.0.0" });
      assert.deepEqual(portmap?.config, {
        type: "portmap",
        name: "pods",
        cniVersion: "1.0.0",
        runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
        prevResult: bridgeResult,
      });
    });

    test("gives ipRanges to a plugin that declares it", async () => {
      write({ plugins: [{ type: "bridge", capabilities: { ipRanges: true } }] });
      const network = await open();
      network.setPodCidr("10.1.0.0/24");
      await add(network);
      assert.deepEqual(calls[0]?.config["runtimeConfig"], {
        ipRanges: [[{ subnet: "10.1.0.0/24" }]],
      });
    });

    test("stops at the first plugin that fails, without a result on record", async () => {
      behave = () => fail(11, "no address left", "10.0.0.0/24 is full");
      await assert.rejects(add(await open()), {
        kind: "unavailable",
        message:
          'add network "pods" to sandbox "s1": plugin bridge: no address left; 10.0.0.0/24 is full',
      });
      assert.deepEqual(marks, ["record", "add-network bridge", "ADD bridge"]);
    });

    test("stops between plugins when the operation was aborted", async () => {
      const network = await open();
      const controller = new AbortController();
      behave = () => {
        controller.abort(new RuntimeError("aborted", "a Stop came"));
        return ok(bridgeResult);
      };
      await assert.rejects(network.add(request, operation(controller.signal), record), {
        kind: "aborted",
        message: /a Stop came/,
      });
      assert.equal(calls.length, 1);
    });

    const kinds: readonly (readonly [number, string])[] = [
      [1, "failed-precondition"],
      [2, "invalid-argument"],
      [4, "invalid-argument"],
      [5, "internal"],
      [7, "invalid-argument"],
      [50, "unavailable"],
      [999, "internal"],
    ];
    for (const [code, kind] of kinds) {
      test(`takes error code ${code} for ${kind}`, async () => {
        behave = () => fail(code, "no");
        await assert.rejects(add(await open()), { kind });
      });
    }

    test("shows what a plugin wrote when its error cannot be read", async () => {
      const network = await open();
      behave = () => exit(2, "garbage", `${"x".repeat(2000)}\npanic: oops\n`);
      await assert.rejects(add(network), {
        kind: "internal",
        message: /plugin bridge: exited with code 2: \.\.\.x+ panic: oops$/,
      });
      behave = () => ({ ...exit(0, ""), code: null, signal: 11 });
      await assert.rejects(
        add(network),
        /plugin bridge: was killed by signal 11 and said nothing$/,
      );
    });

    test("refuses a success without a result that can be read", async () => {
      const network = await open();
      for (const stdout of ["", "garbage", "[]", '{"ips":[{"address":"x"}]}']) {
        behave = () => exit(0, stdout);
        await assert.rejects(add(network), {
          kind: "internal",
          message: /add network "pods" to sandbox "s1": plugin bridge: read its result: /,
        });
      }
    });

    test("refuses a pod without an address, with the result on record", async () => {
      behave = () => ok({ cniVersion: "1.0.0" });
      await assert.rejects(add(await open()), /no address to "eth0"/);
      assert.equal(lastRecord().result, '{"cniVersion":"1.0.0"}');
    });

    test("says where it looked for a plugin that is not there", async () => {
      const network = await open();
      rmSync(join(base, "bin", "bridge"));
      behave = () => {
        throw new RuntimeError("not-found", "start bridge: no such file");
      };
      await assert.rejects(add(network), {
        kind: "failed-precondition",
        message: /plugin "bridge" is not in .*empty, .*bin: install it there or set cni.bin_dirs/,
      });
    });

    test("finds a plugin that moved", async () => {
      const network = await open();
      mkdirSync(join(base, "empty"));
      writeFileSync(join(base, "empty", "bridge"), "", { mode: 0o755 });
      rmSync(join(base, "bin", "bridge"));
      const files: string[] = [];
      behave = (_call, raw) => {
        files.push(raw.file);
        if (raw.file === join(base, "bin", "bridge")) throw new RuntimeError("not-found", "gone");
        return ok(bridgeResult);
      };
      await add(network);
      assert.deepEqual(files.slice(0, 2), [
        join(base, "bin", "bridge"),
        join(base, "empty", "bridge"),
      ]);
    });

    test("looks once more at the directory before it refuses", async () => {
      rmSync(file());
      const network = await open();
      await assert.rejects(add(network), {
        kind: "unavailable",
        message: /no network configuration in/,
      });
      write();
      await add(network);
    });

    test("runs no more at once than it may, and DELs cannot take the places of ADDs", async () => {
      const network = await open({ maxParallel: 2 });
      await add(network);
      const attachment = lastRecord();
      const hanging = Promise.withResolvers<PluginExit>();
      let running = 0;
      let most = 0;
      behave = async ({ command }) => {
        if (command === "DEL") return hanging.promise;
        most = Math.max(most, ++running);
        await new Promise(setImmediate);
        running--;
        return ok(bridgeResult);
      };
      const removals = Array.from({ length: 5 }, () => network.remove(attachment, { signal }));
      await Promise.all(
        Array.from({ length: 10 }, (_, at) => add(network, { sandboxId: `s${at}` })),
      );
      assert.equal(most, 2);
      assert.equal(calls.filter(({ command }) => command === "DEL").length, 2);
      hanging.resolve(exit(0, ""));
      await Promise.all(removals);
    });
  });

  describe("remove()", () => {
    const added = async (
      more: Partial<CniNetworkOptions> = {},
    ): Promise<[CniNetwork, Attachment]> => {
      const network = await open(more);
      await add(network);
      calls.length = 0;
      marks.length = 0;
      return [network, lastRecord()];
    };

    test("runs DEL in reverse with what was recorded, whatever is configured now", async () => {
      const [, attachment] = await added();
      rmSync(file());
      const network = await open();
      await network.remove(attachment, {
        signal,
        onPlugin: (plugin) => marks.push(plugin),
        onPluginDone: async (plugin) => {
          marks.push(`${plugin} done`);
        },
      });
      assert.deepEqual(marks, [
        ...["portmap", "DEL portmap", "portmap done"],
        ...["bridge", "DEL bridge", "bridge done"],
      ]);
      const [portmap] = calls;
      assert.deepEqual(portmap?.config["prevResult"], bridgeResult);
      assert.deepEqual(Object.keys(portmap.config["runtimeConfig"] ?? {}), ["portMappings"]);
      assert.equal(portmap.env["CNI_NETNS"], "/run/netns/s1");
      assert.match(portmap.env["CNI_ARGS"] ?? "", /K8S_POD_NAME=web/);
    });

    test("works from a record without a result", async () => {
      const [network, attachment] = await added();
      await network.remove({ ...attachment, result: undefined }, { signal });
      assert.deepEqual(
        calls.map(({ config }) => "prevResult" in config),
        [false, false],
      );
    });

    test("gives no result to plugins of 0.3.1", async () => {
      write({ cniVersion: "0.3.1" });
      const [network, attachment] = await added();
      await network.remove(attachment, { signal });
      assert.equal("prevResult" in (calls[0]?.config ?? {}), false);
    });

    test("says no namespace when it is gone or of another boot", async () => {
      const [network, attachment] = await added({ isNamespaceMounted: () => false });
      await network.remove(attachment, { signal });
      const later = await open({ bootId: "boot-2" });
      await later.remove(attachment, { signal });
      assert.deepEqual(
        calls.map(({ env }) => env["CNI_NETNS"]),
        ["", "", "", ""],
      );
    });

    test("goes past a plugin that fails, and reports it", async () => {
      const [network, attachment] = await added();
      behave = ({ plugin }) => fail(plugin === "portmap" ? 100 : 7, `${plugin} broke`);
      await assert.rejects(network.remove(attachment, { signal }), {
        kind: "internal",
        message: 'remove network "pods" from sandbox "s1": plugin portmap: portmap broke',
      });
      assert.deepEqual(marks, ["DEL portmap", "DEL bridge"]);
    });

    test("says which plugin is gone, and still calls the other", async () => {
      const [network, attachment] = await added();
      rmSync(join(base, "bin", "portmap"));
      behave = ({ plugin }) => {
        if (plugin === "portmap") throw new RuntimeError("not-found", "gone");
        return exit(0, "");
      };
      await assert.rejects(network.remove(attachment, { signal }), /plugin "portmap" is not in/);
      assert.equal(marks.at(-1), "DEL bridge");
    });

    test("takes an unknown container for done", async () => {
      const [network, attachment] = await added();
      behave = () => fail(3, "never heard of it");
      await network.remove(attachment, { signal });
    });

    test("ends with the signal", async () => {
      const [network, attachment] = await added();
      const controller = new AbortController();
      behave = () => {
        controller.abort(new RuntimeError("deadline-exceeded", "took too long"));
        return fail(100, "killed");
      };
      await assert.rejects(network.remove(attachment, { signal: controller.signal }));
      assert.deepEqual(marks, ["DEL portmap"]);
    });

    test("says which record it cannot read", async () => {
      const [network, attachment] = await added();
      for (const broken of [{ conflist: "{" }, { args: "{}" }, { result: "[]" }]) {
        await assert.rejects(network.remove({ ...attachment, ...broken }, { signal }), {
          kind: "data-loss",
          message: /^read the network record of sandbox "s1": /,
        });
      }
    });
  });

  describe("status()", () => {
    test("is ready with a configuration and its plugins", async () => {
      assert.deepEqual((await open()).status(), { ready: true });
      assert.deepEqual(calls, []); // 1.0.0 has no STATUS
    });

    test("names a plugin that is missing", async () => {
      write({ plugins: [{ type: "calico" }] });
      const status = (await open()).status();
      assert.ok(!status.ready);
      assert.match(status.reason, /network "pods" \(".*1\.conflist"\): plugin "calico" is not in/);
    });

    test("waits for STATUS of 1.1.0, and says what it answered", async () => {
      write({ cniVersion: "1.1.0" });
      const answer = Promise.withResolvers<PluginExit>();
      behave = (_call, raw) => {
        raw.signal.addEventListener("abort", () => answer.resolve(fail(100, "killed")));
        return answer.promise;
      };
      const network = await open({ statusIntervalMs: 5 });
      const first = network.status();
      assert.ok(!first.ready);
      assert.match(first.reason, /waiting for the plugins/);
      answer.resolve(fail(50, "daemon is down"));
      const until = async (reason: string | undefined): Promise<void> => {
        const deadline = Date.now() + patient(10_000);
        for (;;) {
          const status = network.status();
          const said = status.ready ? undefined : status.reason;
          if (said === reason) return;
          assert.ok(Date.now() < deadline, `still: ${String(said)}`);
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      };
      await until('STATUS of network "pods": plugin bridge: daemon is down');
      behave = () => exit(0, "");
      await until(undefined);
      assert.deepEqual(calls[0]?.config, { ...chain[0], name: "pods", cniVersion: "1.1.0" });
      assert.equal(calls[0].env["CNI_COMMAND"], "STATUS");
      // Nothing of an attachment, not even from the environment of the daemon.
      assert.equal("CNI_CONTAINERID" in calls[0].env, false);
      assert.equal("CNI_NETNS" in calls[0].env, false);
    });
  });

  describe("collect()", () => {
    const valid = [{ sandboxId: "s1", ifName: "eth0" }];

    test("tells every plugin what is valid, and goes past errors", async () => {
      write({ cniVersion: "1.1.0" });
      const network = await open();
      calls.length = 0;
      behave = ({ command, plugin }) =>
        command === "GC" ? fail(100, `${plugin} broke`) : exit(0, "");
      await assert.rejects(
        network.collect(() => valid, { signal }),
        {
          kind: "internal",
          message:
            'collect garbage of network "pods": plugin bridge: bridge broke; plugin portmap: portmap broke',
        },
      );
      const gc = calls.filter(({ command }) => command === "GC");
      assert.deepEqual(
        gc.map(({ plugin }) => plugin),
        ["bridge", "portmap"],
      );
      assert.deepEqual(gc[0]?.config["cni.dev/valid-attachments"], [
        { containerID: "s1", ifname: "eth0" },
      ]);
    });

    test("is not called before 1.1.0, nor where it is disabled", async () => {
      await (await open()).collect(() => valid, { signal });
      write({ cniVersion: "1.1.0", disableGC: true });
      await (await open()).collect(() => valid, { signal });
      assert.equal(calls.filter(({ command }) => command === "GC").length, 0);
    });

    test("waits for ADDs under way, and new ones wait for it", async () => {
      write({ cniVersion: "1.1.0", plugins: [{ type: "bridge" }] });
      const network = await open({ maxParallel: 1 });
      const adding = Promise.withResolvers<PluginExit>();
      const collecting = Promise.withResolvers<undefined>();
      const begun = Promise.withResolvers<undefined>();
      behave = async ({ command }) => {
        if (command === "ADD") return adding.promise;
        if (command === "GC") {
          begun.resolve(undefined);
          await collecting.promise;
          marks.push("collected");
        }
        return exit(0, "");
      };
      const first = add(network);
      const collected = network.collect(() => valid, { signal });
      await new Promise(setImmediate); // the collection waits for the place now
      const second = add(network, { sandboxId: "s2" });
      await new Promise(setImmediate);
      assert.equal(marks.includes("GC bridge"), false);
      adding.resolve(ok(bridgeResult));
      await begun.promise;
      await new Promise(setImmediate);
      collecting.resolve(undefined);
      await Promise.all([first, second, collected]);
      const order = marks.filter((mark) => /^(ADD|GC|collected)/.test(mark));
      assert.deepEqual(order, ["ADD bridge", "GC bridge", "collected", "ADD bridge"]);
    });
  });

  test("describe() has containerd's keys", async () => {
    const described = (await open()).describe();
    assert.equal(described["lastCNILoadStatus"], "OK");
    assert.deepEqual(described["invalidFiles"], []);
    const text = JSON.stringify(described["cniconfig"]);
    assert.match(text, /"PluginConfDir":".*net\.d".*"Name":"pods","CNIVersion":"1\.0\.0"/);
  });
});
