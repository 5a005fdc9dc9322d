import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import type { PluginObserver } from "../../core/network/index.ts";
import type { PluginExit } from "./plugin-exec.ts";
import {
  bridgeResult,
  chain,
  CniFixture,
  exit,
  fail,
  ok,
  request,
  signal,
} from "./testing/cni-fixture.ts";

const cni = new CniFixture();
const { add, file, open, operation, record, write } = cni;

describe("CniNetwork.add()", () => {
  test("records, runs the plugins in order, and records the result", async () => {
    const network = await open();
    const result = await add(network);
    assert.deepEqual(result, { ips: ["10.0.0.2"], result: JSON.stringify(bridgeResult) });
    assert.deepEqual(cni.marks, [
      "record",
      "add-network bridge",
      "ADD bridge",
      "network-plugin-done",
      "add-network portmap",
      "ADD portmap",
      "network-plugin-done",
      "record result",
    ]);
    assert.equal(cni.lastRecord.bootId, "boot-1");
    assert.equal(cni.lastRecord.result, JSON.stringify(bridgeResult));
    assert.equal(cni.lastRecord.removal, undefined);
  });

  test("passes each plugin its environment and configuration", async () => {
    await add(await open());
    const [bridge, portmap] = cni.calls;
    assert.deepEqual(bridge?.env, {
      PATH: "/bin",
      CNI_PATH: `${cni.base}/empty:${cni.base}/bin`,
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

  test("passes ipRanges to a plugin that declares the capability", async () => {
    write({ plugins: [{ type: "bridge", capabilities: { ipRanges: true } }] });
    const network = await open();
    network.setPodCidr("10.1.0.0/24");
    await add(network);
    assert.deepEqual(cni.calls[0]?.config["runtimeConfig"], {
      ipRanges: [[{ subnet: "10.1.0.0/24" }]],
    });
  });

  test("stops at the first plugin that fails, and records no result", async () => {
    cni.behave = () => fail(11, "no address left", "10.0.0.0/24 is full");
    await assert.rejects(add(await open()), {
      kind: "unavailable",
      message:
        'add network "pods" to sandbox "s1": plugin bridge: no address left; 10.0.0.0/24 is full',
    });
    assert.deepEqual(cni.marks, ["record", "add-network bridge", "ADD bridge"]);
  });

  test("reports each run of a plugin, also those that fail", async () => {
    const runs: unknown[] = [];
    const onPluginRun: PluginObserver = ({ tookMs, ...run }) => {
      assert.ok(tookMs >= 0);
      runs.push(run);
    };
    cni.behave = ({ plugin }) =>
      plugin === "portmap" ? fail(11, "no port left") : ok(bridgeResult);
    await assert.rejects(add(await open({ onPluginRun })));
    assert.deepEqual(runs, [
      { plugin: "bridge", command: "ADD", failed: false },
      { plugin: "portmap", command: "ADD", failed: true },
    ]);
  });

  test("stops between plugins when the operation was aborted", async () => {
    const network = await open();
    const controller = new AbortController();
    cni.behave = () => {
      controller.abort(new RuntimeError("aborted", "a Stop came"));
      return ok(bridgeResult);
    };
    await assert.rejects(network.add(request, operation(controller.signal), record), {
      kind: "aborted",
      message: /a Stop came/,
    });
    assert.equal(cni.calls.length, 1);
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
      cni.behave = () => fail(code, "no");
      await assert.rejects(add(await open()), { kind });
    });
  }

  test("reports the output of a plugin whose error cannot be parsed", async () => {
    const network = await open();
    cni.behave = () => exit(2, "garbage", `${"x".repeat(2000)}\npanic: oops\n`);
    await assert.rejects(add(network), {
      kind: "internal",
      message: /plugin bridge: exited with code 2: \.\.\.x+ panic: oops$/,
    });
    cni.behave = () => ({ ...exit(0, ""), code: null, signal: 11 });
    await assert.rejects(add(network), /plugin bridge: was killed by signal 11 without output$/);
  });

  test("refuses a success with an invalid result", async () => {
    const network = await open();
    for (const stdout of ["", "garbage", "[]", '{"ips":[{"address":"x"}]}']) {
      cni.behave = () => exit(0, stdout);
      await assert.rejects(add(network), {
        kind: "internal",
        message: /add network "pods" to sandbox "s1": plugin bridge: read its result: /,
      });
    }
  });

  test("refuses a pod without an address, and records the result", async () => {
    cni.behave = () => ok({ cniVersion: "1.0.0" });
    await assert.rejects(add(await open()), /no address to "eth0"/);
    assert.equal(cni.lastRecord.result, '{"cniVersion":"1.0.0"}');
  });

  test("names the directories searched for a missing plugin", async () => {
    const network = await open();
    rmSync(join(cni.base, "bin", "bridge"));
    cni.behave = () => {
      throw new RuntimeError("not-found", "start bridge: no such file");
    };
    await assert.rejects(add(network), {
      kind: "failed-precondition",
      message: /plugin "bridge" is not in .*empty, .*bin: install it there or set cni.bin_dirs/,
    });
  });

  test("finds a plugin in another directory", async () => {
    const network = await open();
    mkdirSync(join(cni.base, "empty"));
    writeFileSync(join(cni.base, "empty", "bridge"), "", { mode: 0o755 });
    rmSync(join(cni.base, "bin", "bridge"));
    const files: string[] = [];
    cni.behave = (_call, raw) => {
      files.push(raw.file);
      if (raw.file === join(cni.base, "bin", "bridge")) throw new RuntimeError("not-found", "gone");
      return ok(bridgeResult);
    };
    await add(network);
    assert.deepEqual(files.slice(0, 2), [
      join(cni.base, "bin", "bridge"),
      join(cni.base, "empty", "bridge"),
    ]);
  });

  test("reads the directory again before it refuses", async () => {
    rmSync(file());
    const network = await open();
    await assert.rejects(add(network), {
      kind: "unavailable",
      message: /no network configuration in/,
    });
    write();
    await add(network);
  });

  test("limits parallel calls, and DELs do not block ADDs", async () => {
    const network = await open({ maxParallel: 2 });
    await add(network);
    const attachment = cni.lastRecord;
    const hanging = Promise.withResolvers<PluginExit>();
    let running = 0;
    let most = 0;
    cni.behave = async ({ command }) => {
      if (command === "DEL") return hanging.promise;
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running--;
      return ok(bridgeResult);
    };
    const removals = Array.from({ length: 5 }, () => network.remove(attachment, { signal }));
    await Promise.all(Array.from({ length: 10 }, (_, at) => add(network, { sandboxId: `s${at}` })));
    assert.equal(most, 2);
    assert.equal(cni.calls.filter(({ command }) => command === "DEL").length, 2);
    hanging.resolve(exit(0, ""));
    await Promise.all(removals);
  });
});

describe("CniNetwork.status()", () => {
  test("is ready with a configuration and its plugins", async () => {
    assert.deepEqual((await open()).status(), { ready: true });
    assert.deepEqual(cni.calls, []); // 1.0.0 has no STATUS
  });

  test("names a plugin that is missing", async () => {
    write({ plugins: [{ type: "calico" }] });
    const status = (await open()).status();
    assert.ok(!status.ready);
    assert.match(status.reason, /network "pods" \(".*1\.conflist"\): plugin "calico" is not in/);
  });

  test("waits for STATUS of 1.1.0, and reports its answer", async () => {
    write({ cniVersion: "1.1.0" });
    const answer = Promise.withResolvers<PluginExit>();
    cni.behave = (_call, raw) => {
      raw.signal.addEventListener("abort", () => answer.resolve(fail(100, "killed")));
      return answer.promise;
    };
    const network = await open({ statusIntervalMs: 5 });
    const asked = network.status();
    assert.ok(!asked.ready);
    assert.match(asked.reason, /waiting for the plugins/);
    answer.resolve(fail(50, "daemon is down"));
    const until = async (reason: string | undefined): Promise<void> => {
      const deadline = Date.now() + 10_000;
      for (;;) {
        const status = network.status();
        const said = status.ready ? undefined : status.reason;
        if (said === reason) return;
        assert.ok(Date.now() < deadline, `still: ${String(said)}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    await until('STATUS of network "pods": plugin bridge: daemon is down');
    cni.behave = () => exit(0, "");
    await until(undefined);
    const [call] = cni.calls;
    assert.deepEqual(call?.config, { ...chain[0], name: "pods", cniVersion: "1.1.0" });
    assert.equal(call.env["CNI_COMMAND"], "STATUS");
    // It gets no variable of an attachment, not even one of the daemon's environment.
    assert.equal("CNI_CONTAINERID" in call.env, false);
    assert.equal("CNI_NETNS" in call.env, false);
  });
});

test("CniNetwork.describe() has containerd's keys", async () => {
  const described = (await open()).describe();
  assert.equal(described["lastCNILoadStatus"], "OK");
  assert.deepEqual(described["invalidFiles"], []);
  const text = JSON.stringify(described["cniconfig"]);
  assert.match(text, /"PluginConfDir":".*net\.d".*"Name":"pods","CNIVersion":"1\.0\.0"/);
});
