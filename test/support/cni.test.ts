import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import { bridgeConflist, ScriptedPlugin, writeConflist } from "./cni.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-cni-"));
after(() => rmSync(directory, { recursive: true }));

let made = 0;
function newPlugin(): ScriptedPlugin {
  made += 1;
  return new ScriptedPlugin(path.join(directory, String(made)));
}

/** Starts the plugin as a runtime does. */
function begin(plugin: ScriptedPlugin, command: string, config: object = {}): ChildProcess {
  const env = { CNI_COMMAND: command, CNI_IFNAME: "eth0", CNI_NETNS: "/x", PATH: "/usr/bin:/bin" };
  const child = spawn(path.join(plugin.binDir, plugin.type), { env, stdio: "pipe" });
  child.stdin.end(JSON.stringify({ cniVersion: "1.1.0", name: "n", ...config }));
  return child;
}

async function call(plugin: ScriptedPlugin, command: string, config: object = {}) {
  const child = begin(plugin, command, config);
  const closed = once(child, "close");
  const stdout = child.stdout === null ? "" : await text(child.stdout);
  const [code, signal] = (await closed) as [number | null, string | null];
  return { code, signal, stdout };
}

describe("ScriptedPlugin", () => {
  test("records environment and stdin, and makes up an address", async () => {
    const plugin = newPlugin();
    const { code, stdout } = await call(plugin, "ADD", { key: "value" });
    assert.equal(code, 0);
    const result = JSON.parse(stdout) as { cniVersion: string; ips: { address: string }[] };
    assert.equal(result.cniVersion, "1.1.0");
    assert.equal(result.ips[0]?.address, "10.93.0.2/24");
    const [recorded] = plugin.calls();
    assert.equal(recorded?.command, "ADD");
    assert.equal(recorded.env["CNI_IFNAME"], "eth0");
    assert.equal(recorded.config["key"], "value");
  });

  test("hands on prevResult, and says nothing to DEL and STATUS", async () => {
    const plugin = newPlugin();
    const { stdout } = await call(plugin, "ADD", { prevResult: { ips: [] } });
    assert.equal(stdout, '{"ips":[]}');
    for (const command of ["DEL", "STATUS", "GC"]) {
      assert.deepEqual(await call(plugin, command), { code: 0, signal: null, stdout: "" });
    }
    assert.deepEqual(
      plugin.calls().map((each) => each.command),
      ["ADD", "DEL", "STATUS", "GC"],
    );
  });

  test("fails, prints and dies as told", async () => {
    const plugin = newPlugin();
    plugin.on("ADD", { does: "fail", error: { code: 11, msg: "try again" } });
    const failed = await call(plugin, "ADD");
    assert.equal(failed.code, 1);
    assert.match(failed.stdout, /"code":11,"msg":"try again"/);
    plugin.on("ADD", { does: "print", stdout: "rubbish", exitCode: 3 });
    assert.deepEqual(await call(plugin, "ADD"), { code: 3, signal: null, stdout: "rubbish" });
    plugin.on("ADD", { does: "die" });
    assert.equal((await call(plugin, "ADD")).signal, "SIGKILL");
  });

  test("hangs until it is killed, and waits until it is released", async () => {
    const plugin = newPlugin();
    plugin.on("DEL", { does: "hang" });
    const hanging = begin(plugin, "DEL");
    const killed = once(hanging, "exit");
    await plugin.waitForCalls("DEL");
    hanging.kill("SIGKILL");
    assert.deepEqual(await killed, [null, "SIGKILL"]);

    const release = plugin.block("ADD", { does: "fail", error: { code: 7, msg: "at last" } });
    const waiting = call(plugin, "ADD");
    await plugin.waitForCalls("ADD");
    release();
    assert.match((await waiting).stdout, /at last/);
  });
});

describe("writeConflist()", () => {
  test("leaves one whole file under the given name", () => {
    const confDir = path.join(directory, "net.d");
    const conflist = bridgeConflist({ ipamDir: "/ipam", subnets: ["10.1.0.0/24", "fd00:1::/64"] });
    writeConflist(confDir, "10-a.conflist", conflist);
    assert.deepEqual(readdirSync(confDir), ["10-a.conflist"]);
    const written = JSON.parse(readFileSync(path.join(confDir, "10-a.conflist"), "utf8")) as object;
    assert.deepEqual(written, conflist);
    assert.deepEqual(
      conflist.plugins.map((plugin) => plugin["type"]),
      ["bridge", "portmap"],
    );
  });
});
