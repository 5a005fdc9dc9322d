import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import type { Attachment } from "../../core/network/index.ts";
import type { CniNetwork, CniNetworkOptions } from "./cni-network.ts";
import type { PluginExit } from "./plugin-exec.ts";
import { bridgeResult, CniFixture, exit, fail, ok, signal } from "./testing/cni-fixture.ts";

const cni = new CniFixture();
const { add, file, open, write } = cni;

describe("CniNetwork.remove()", () => {
  const added = async (
    more: Partial<CniNetworkOptions> = {},
  ): Promise<[CniNetwork, Attachment]> => {
    const network = await open(more);
    await add(network);
    cni.calls.length = 0;
    cni.marks.length = 0;
    return [network, cni.lastRecord];
  };

  test("runs DEL in reverse with the recorded configuration", async () => {
    const [, attachment] = await added();
    rmSync(file());
    const network = await open();
    await network.remove(attachment, {
      signal,
      onPlugin: (plugin) => cni.marks.push(plugin),
      onPluginDone: async (plugin) => {
        cni.marks.push(`${plugin} done`);
      },
    });
    assert.deepEqual(cni.marks, [
      ...["portmap", "DEL portmap", "portmap done"],
      ...["bridge", "DEL bridge", "bridge done"],
    ]);
    const [portmap] = cni.calls;
    assert.deepEqual(portmap?.config["prevResult"], bridgeResult);
    assert.deepEqual(Object.keys(portmap.config["runtimeConfig"] ?? {}), ["portMappings"]);
    assert.equal(portmap.env["CNI_NETNS"], "/run/netns/s1");
    assert.match(portmap.env["CNI_ARGS"] ?? "", /K8S_POD_NAME=web/);
  });

  test("works from a record without a result", async () => {
    const [network, attachment] = await added();
    await network.remove({ ...attachment, result: undefined }, { signal });
    assert.deepEqual(
      cni.calls.map(({ config }) => "prevResult" in config),
      [false, false],
    );
  });

  test("passes no result to plugins of 0.3.1", async () => {
    write({ cniVersion: "0.3.1" });
    const [network, attachment] = await added();
    await network.remove(attachment, { signal });
    assert.equal("prevResult" in (cni.calls[0]?.config ?? {}), false);
  });

  test("passes no namespace when it is gone or of another boot", async () => {
    const [network, attachment] = await added({ isNamespaceMounted: () => false });
    await network.remove(attachment, { signal });
    const later = await open({ bootId: "boot-2" });
    await later.remove(attachment, { signal });
    assert.deepEqual(
      cni.calls.map(({ env }) => env["CNI_NETNS"]),
      ["", "", "", ""],
    );
  });

  test("continues after a plugin that fails, and reports it", async () => {
    const [network, attachment] = await added();
    cni.behave = ({ plugin }) => fail(plugin === "portmap" ? 100 : 7, `${plugin} broke`);
    await assert.rejects(network.remove(attachment, { signal }), {
      kind: "internal",
      message: 'remove network "pods" from sandbox "s1": plugin portmap: portmap broke',
    });
    assert.deepEqual(cni.marks, ["DEL portmap", "DEL bridge"]);
  });

  test("names a missing plugin, and still calls the other", async () => {
    const [network, attachment] = await added();
    rmSync(join(cni.base, "bin", "portmap"));
    cni.behave = ({ plugin }) => {
      if (plugin === "portmap") throw new RuntimeError("not-found", "gone");
      return exit(0, "");
    };
    await assert.rejects(network.remove(attachment, { signal }), /plugin "portmap" is not in/);
    assert.equal(cni.marks.at(-1), "DEL bridge");
  });

  test("treats an unknown container as success", async () => {
    const [network, attachment] = await added();
    cni.behave = () => fail(3, "never heard of it");
    await network.remove(attachment, { signal });
  });

  test("stops when the signal is aborted", async () => {
    const [network, attachment] = await added();
    const controller = new AbortController();
    cni.behave = () => {
      controller.abort(new RuntimeError("deadline-exceeded", "took too long"));
      return fail(100, "killed");
    };
    await assert.rejects(network.remove(attachment, { signal: controller.signal }));
    assert.deepEqual(cni.marks, ["DEL portmap"]);
  });

  test("names the record that it cannot read", async () => {
    const [network, attachment] = await added();
    for (const broken of [{ conflist: "{" }, { args: "{}" }, { result: "[]" }]) {
      await assert.rejects(network.remove({ ...attachment, ...broken }, { signal }), {
        kind: "data-loss",
        message: /^read the network record of sandbox "s1": /,
      });
    }
  });
});

describe("CniNetwork.collect()", () => {
  const valid = [{ sandboxId: "s1", ifName: "eth0" }];

  test("passes the valid attachments to every plugin, and continues after errors", async () => {
    write({ cniVersion: "1.1.0" });
    const network = await open();
    cni.calls.length = 0;
    cni.behave = ({ command, plugin }) =>
      command === "GC" ? fail(100, `${plugin} broke`) : exit(0, "");
    await assert.rejects(
      network.collect(() => valid, { signal }),
      {
        kind: "internal",
        message:
          'collect garbage of network "pods": plugin bridge: bridge broke; plugin portmap: portmap broke',
      },
    );
    const gc = cni.calls.filter(({ command }) => command === "GC");
    assert.deepEqual(
      gc.map(({ plugin }) => plugin),
      ["bridge", "portmap"],
    );
    assert.deepEqual(gc[0]?.config["cni.dev/valid-attachments"], [
      { containerID: "s1", ifname: "eth0" },
    ]);
  });

  test("is not called before 1.1.0 or where GC is disabled", async () => {
    await (await open()).collect(() => valid, { signal });
    write({ cniVersion: "1.1.0", disableGC: true });
    await (await open()).collect(() => valid, { signal });
    assert.equal(cni.calls.filter(({ command }) => command === "GC").length, 0);
  });

  test("waits for ADDs in progress, and new ones wait for it", async () => {
    write({ cniVersion: "1.1.0", plugins: [{ type: "bridge" }] });
    const network = await open({ maxParallel: 1 });
    const adding = Promise.withResolvers<PluginExit>();
    const collecting = Promise.withResolvers<undefined>();
    const begun = Promise.withResolvers<undefined>();
    cni.behave = async ({ command }) => {
      if (command === "ADD") return adding.promise;
      if (command === "GC") {
        begun.resolve(undefined);
        await collecting.promise;
        cni.marks.push("collected");
      }
      return exit(0, "");
    };
    const first = add(network);
    const collected = network.collect(() => valid, { signal });
    await new Promise(setImmediate); // the collection waits for its turn now
    const second = add(network, { sandboxId: "s2" });
    await new Promise(setImmediate);
    assert.equal(cni.marks.includes("GC bridge"), false);
    adding.resolve(ok(bridgeResult));
    await begun.promise;
    await new Promise(setImmediate);
    collecting.resolve(undefined);
    await Promise.all([first, second, collected]);
    const order = cni.marks.filter((mark) => /^(ADD|GC|collected)/.test(mark));
    assert.deepEqual(order, ["ADD bridge", "GC bridge", "collected", "ADD bridge"]);
  });
});
