/** `davit doctor` on the pod network: it attaches a trial pod by the configured plugins. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { testBridge } from "../support/cni.ts";
import { podConfig } from "../support/pod.ts";
import { launchDaemon, runPod } from "../support/suites/pods.ts";
import {
  daemon,
  plugin,
  command,
  davit,
  doctor,
  conflist,
  assertFinds,
  configure,
  forward,
  outcomeOf,
  prepareDaemons,
} from "../support/suites/doctor.ts";

prepareDaemons();

describe("davit doctor on the network", () => {
  test("tests the network by attaching a trial pod, and leaves nothing", async () => {
    const outcome = await doctor("configuration programs disk network");
    assertFinds(outcome, "network.configuration", "network.trial", "network.iptables");
    assertFinds(outcome, "configuration.fine", "programs.addon", "programs.monitor", "disk.fine");
    const trial = outcome.findings.find(({ id }) => id === "network.trial");
    assert.match(
      trial?.found ?? "",
      /assigned and released 10\.92\.0\.\d+: ADD bridge .* ms, .*DEL bridge .* ms/,
    );
    assert.deepEqual(readdirSync(daemon.paths.ipamDir), []);
    assert.equal(existsSync(`/proc/sys/net/ipv4/conf/${testBridge}`), false);
    assert.deepEqual(readdirSync(daemon.paths.root), []);
    const scratch = readdirSync(tmpdir()).filter((name) => name.startsWith("davit-doctor-"));
    assert.deepEqual(scratch, []);
  });

  test("keeps the bridge that pods use", async () => {
    await launchDaemon(daemon);
    const podSandboxId = await runPod(daemon, podConfig());
    assertFinds(await doctor("network"), "network.trial");
    assert.ok(existsSync(`/proc/sys/net/ipv4/conf/${testBridge}`));
    const { status } = await daemon.client.runtime.podSandboxStatus({ podSandboxId });
    assert.ok(
      readdirSync(path.join(daemon.paths.ipamDir, "davit-test")).includes(
        status?.network?.ip ?? "?",
      ),
    );
  });

  test("turns ip_forward on if requested", async () => {
    writeFileSync(forward, "0");
    // The bridge plugin turns it on by itself; a trial must not.
    assertFinds(await doctor("network"), "network.forwarding-later");
    assert.equal(readFileSync(forward, "utf8"), "0\n");
    conflist([{ type: "scripted" }]);
    const before = await doctor("network");
    assertFinds(before, "network.forwarding-off");
    assert.equal(before.code, 1);
    assert.equal(readFileSync(forward, "utf8"), "0\n");
    const after = await doctor("network", "--fix");
    assert.deepEqual(after.fixed, ["set net.ipv4.ip_forward = 1"]);
    assert.equal(after.ids.includes("network.forwarding-off"), false);
    assert.equal(readFileSync(forward, "utf8"), "1\n");
  });

  test("finds what the plugins need from the kernel and from iptables", async () => {
    const bridge = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if (existsSync(bridge)) writeFileSync(bridge, "0");
    const programs = path.join(daemon.paths.directory, "programs");
    mkdirSync(programs);
    const search = `${programs}:/usr/bin:/bin`;
    const missing = await outcomeOf(davit, command("network"), { PATH: search });
    assertFinds(missing, "network.bridge-skips-iptables", "network.iptables-missing");
    const fake = path.join(programs, "iptables");
    writeFileSync(fake, "#!/bin/sh\necho no such table >&2\n[ $1 = --version ]\n", { mode: 0o755 });
    const broken = await outcomeOf(davit, command("network"), { PATH: search });
    assertFinds(broken, "network.iptables-broken");
    assert.match(JSON.stringify(broken.findings), /-t nat -N DAVIT-TRIAL: no such table/);
    conflist([{ type: "scripted" }]);
    const result = { cniVersion: "1.0.0", ips: [{ address: "fd00::2/64" }] };
    plugin.on("ADD", { does: "succeed", result });
    assertFinds(await doctor("network"), "network.forwarding6-off");
  });

  test("says what is wrong with the directory of network configurations", async () => {
    const { confDir } = daemon.paths;
    const file = path.join(confDir, "05-broken.conflist");
    writeFileSync(path.join(confDir, "99-last.conf"), "{}");
    writeFileSync(file, "{");
    assertFinds(await doctor("network"), "network.file-invalid", "network.file-ignored");
    rmSync(path.join(confDir, "10-test.conflist"));
    rmSync(path.join(confDir, "99-last.conf"));
    const broken = await doctor("network");
    assertFinds(broken, "network.file-invalid", "network.no-valid-file");
    assert.equal(broken.code, 1);
    rmSync(file);
    assertFinds(await doctor("network"), "network.no-configuration");
    rmSync(confDir, { recursive: true });
    assertFinds(await doctor("network"), "network.no-directory");
    conflist([{ type: "scripted" }], "9.9.9");
    assertFinds(await doctor("network"), "network.version-unknown");
    conflist([{ type: "nowhere" }]);
    assertFinds(await doctor("network"), "network.plugin-missing");
  });

  test("says which plugin fails, and how", async () => {
    conflist([{ type: "scripted" }]);
    const result = { cniVersion: "1.0.0", ips: [{ address: "10.9.0.2/24" }] };
    plugin.on("ADD", { does: "succeed", result });
    assertFinds(await doctor("network"), "network.trial");
    plugin.on("DEL", { does: "fail", error: { code: 100, msg: "cannot release" } });
    const failed = await doctor("network");
    assertFinds(failed, "network.del-failed");
    assert.equal(failed.code, 0, "a warning is not an error");
    plugin.on("ADD", { does: "succeed", result: { cniVersion: "1.0.0" } });
    assertFinds(await doctor("network"), "network.no-address");
    plugin.on("ADD", { does: "fail", error: { code: 100, msg: "the bridge is broken" } });
    const broken = await doctor("network");
    assertFinds(broken, "network.add-failed");
    assert.match(JSON.stringify(broken.findings), /the bridge is broken/);
    conflist([{ type: "scripted" }], "1.1.0");
    plugin.on("STATUS", { does: "fail", error: { code: 50, msg: "no room" } });
    assertFinds(await doctor("network"), "network.plugin-not-ready");
  });

  test("ends a plugin that hangs, with all of its processes, and still calls DEL", async () => {
    conflist([{ type: "scripted" }]);
    configure({
      cni: { bin_dirs: [plugin.binDir], plugin_timeout_seconds: 4, conf_dir: daemon.paths.confDir },
    });
    plugin.on("ADD", { does: "hang", withGrandchild: true });
    const outcome = await doctor("network");
    assertFinds(outcome, "network.plugin-hangs");
    assert.equal(plugin.calls("DEL").length, 1);
  });

  test("releases the addresses that a plugin forgets", async () => {
    conflist([
      {
        type: "scripted",
        ipam: { type: "host-local", dataDir: daemon.paths.ipamDir },
      },
    ]);
    const directory = path.join(daemon.paths.ipamDir, "odd");
    mkdirSync(directory);
    const result = { cniVersion: "1.0.0", ips: [{ address: "10.9.0.2/24" }] };
    const release = plugin.block("ADD", { does: "succeed", result });
    const running = doctor("network");
    const [call] = await plugin.waitForCalls("ADD");
    writeFileSync(
      path.join(directory, "10.9.0.2"),
      `${call?.env["CNI_CONTAINERID"] ?? ""}\r\neth0`,
    );
    release();
    assertFinds(await running, "network.left-behind");
    assert.deepEqual(readdirSync(directory), []);
  });

  test("removes the trial when it is interrupted", async () => {
    conflist([{ type: "scripted" }]);
    const release = plugin.block("ADD");
    const child = spawn(davit, command("network"), { stdio: "ignore" });
    await plugin.waitForCalls("ADD");
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number | null];
    release();
    assert.equal(code, 130);
    assert.equal(plugin.calls("DEL").length, 1);
  });
});
