import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { RunnerChoice } from "./choice.ts";
import { parseNetworkList } from "./conflist.ts";
import { CniFixture } from "./testing/cni-fixture.ts";

const fixture = new CniFixture();
const bridge = {
  type: "bridge",
  isGateway: true,
  ipam: { type: "host-local", ranges: [[{ subnet: "10.0.0.0/24" }]] },
};
const withoutPlugins = (): void => {
  rmSync(join(fixture.base, "bin", "bridge"));
};

describe("CniNetwork with cni.builtin", () => {
  test("needs no plugins for a network that davit knows whole", async () => {
    fixture.write({ plugins: [bridge] });
    withoutPlugins();
    const network = await fixture.open({ builtin: true });
    assert.deepEqual(network.status(), { ready: true });
    assert.deepEqual(network.describe()["builtinNetwork"], { inForce: true });
    assert.deepEqual(fixture.calls, []);
  });

  test("runs the plugins of every other network, and says why", async () => {
    fixture.write({ plugins: [{ ...bridge, portIsolation: true }] });
    const network = await fixture.open({ builtin: true });
    const reason = 'plugin "bridge": it does not know key "portIsolation"';
    assert.deepEqual(network.describe()["builtinNetwork"], { inForce: false, reason });
    await fixture.add(network);
    assert.deepEqual(
      fixture.calls.map(({ plugin }) => plugin),
      ["bridge"],
    );
    withoutPlugins();
    const again = await fixture.open({ builtin: true });
    assert.match(JSON.stringify(again.status()), /plugin \\"bridge\\" is not in/);
  });

  test("is chosen again when it is to be forgotten", async () => {
    const list = parseNetworkList(
      JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins: [bridge] }),
    );
    const plugins = { run: async () => await Promise.resolve("") };
    const choice = new RunnerChoice({ builtin: true, plugins, timeoutMs: 60_000 });
    const first = await choice.of(list);
    assert.equal(await choice.of(list), first);
    choice.forget();
    assert.notEqual(await choice.of(list), first);
  });

  test("runs the plugins where it is off", async () => {
    fixture.write({ plugins: [bridge] });
    const network = await fixture.open({ builtin: false });
    const reason = "cni.builtin is false";
    assert.deepEqual(network.describe()["builtinNetwork"], { inForce: false, reason });
    await fixture.add(network);
    await network.remove(fixture.lastRecord, { signal: new AbortController().signal });
    assert.deepEqual(
      fixture.calls.map(({ command }) => command),
      ["ADD", "DEL"],
    );
  });
});
