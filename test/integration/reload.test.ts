/** Edits of the configuration of a running daemon with a pod: drop-ins, `davit reload`, SIGHUP. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { bridgeConflist, writeConflist } from "../support/cni.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { freePort } from "../support/registry.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  bare,
  code,
  endDaemon,
  failsWith,
  pod,
  READY,
  removeBridge,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  statusOf,
  until,
} from "../support/suites/pods.ts";

describe("a reload of the configuration", () => {
  let daemon: TestDaemon;
  let davit: Davit;
  let running: string;
  const servers: Server[] = [];

  before(async () => {
    daemon = await startDaemon({ config: { log: { level: "info" } } });
    davit = new Davit(daemon);
    mkdirSync(`${daemon.paths.config}.d`);
    running = await runPod(daemon, bare());
  });
  after(async () => {
    for (const server of servers) server.close();
    await endDaemon(daemon);
  });

  const fileOf = (name: string): string => path.join(`${daemon.paths.config}.d`, `${name}.toml`);

  /** Writes a drop-in and reloads; returns the keys that took effect. */
  async function edit(name: string, toml: string): Promise<readonly string[]> {
    writeFileSync(fileOf(name), toml);
    const { changed, refused } = await daemon.client.daemon.reload({});
    assert.deepEqual(refused, []);
    assert.equal((await statusOf(daemon, running)).state, READY);
    return changed.map(({ key }) => key);
  }

  /** Writes a drop-in that is refused, and removes it; returns the reasons. */
  async function refusedEdit(name: string, toml: string): Promise<string> {
    const before = await runtimeFact(daemon, "config");
    writeFileSync(fileOf(name), toml);
    const { changed, waiting, refused } = await daemon.client.daemon.reload({});
    rmSync(fileOf(name));
    assert.deepEqual([changed, waiting], [[], []]);
    assert.deepEqual(await runtimeFact(daemon, "config"), before);
    return refused.join("\n");
  }

  const section = async (name: string): Promise<Readonly<Record<string, unknown>>> =>
    ((await runtimeFact(daemon, "config")) as Record<string, Record<string, unknown>>)[name] ?? {};

  async function listen(server: Server): Promise<number> {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }

  async function scrape(port: number): Promise<string> {
    return (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  }

  test("1. the level of the log, by davit reload, which prints it", async () => {
    writeFileSync(fileOf("10-log"), '[log]\nlevel = "debug"\n');
    const out = await davit.done("reload");
    assert.equal(out, 'log.level: "info" -> "debug"\n');
    const line = daemon.lines.find(({ text }) => text.includes("reloaded the configuration"));
    assert.equal(line?.fields["uid"], 0);
    assert.ok(Number(line.fields["pid"]) > 1);
    assert.equal(await davit.done("reload"), "no setting has changed\n");
  });

  test("2. a new handler, for new pods", async () => {
    await assert.rejects(runPod(daemon, bare(), "second"), failsWith(code.invalidArgument));
    const keys = await edit("20-handler", '[runtime.handlers.second]\npath = "crun"\n');
    assert.deepEqual(keys, ["runtime.handlers.second"]);
    const reason = await refusedEdit("21", '[runtime.handlers.third]\npath = "/no/runtime"\n');
    assert.match(reason, /^use runtime\.handlers\.third: /);
  });

  test("3. a handler that is removed stays for the pods that use it", async () => {
    const id = await runPod(daemon, bare(), "second");
    rmSync(fileOf("20-handler"));
    assert.deepEqual(await edit("20-none", ""), ["runtime.handlers.second"]);
    assert.equal((await statusOf(daemon, id)).state, READY);
    await assert.rejects(runPod(daemon, bare(), "second"), failsWith(code.invalidArgument));
    await removePod(daemon, id);
    const reason = await refusedEdit("22", "[runtime.handlers.crun]\nenabled = false\n");
    assert.match(reason, /default_handler/);
  });

  test("4. the directory of the network, for new pods; one without a network is refused", async () => {
    const old = await runPod(daemon, pod());
    const confDir = path.join(daemon.paths.directory, "other-net.d");
    const toml = `[cni]\nconf_dir = "${confDir}"\n`;
    assert.match(await refusedEdit("40-cni", toml), /use CNI directory ".*other-net\.d": /);
    mkdirSync(confDir);
    const other = { ipamDir: daemon.paths.ipamDir, name: "davit-reload", bridge: "dvt1" };
    writeConflist(confDir, "1.conflist", bridgeConflist({ ...other, subnets: ["10.93.222.0/24"] }));
    assert.deepEqual(await edit("40-cni", toml), ["cni.conf_dir"]);
    const id = await runPod(daemon, pod());
    assert.match((await statusOf(daemon, id)).network?.ip ?? "", /^10\.93\.222\./);
    for (const each of [id, old]) await removePod(daemon, each);
    await removeBridge("dvt1");
  });

  test("5. pinned images", async () => {
    assert.deepEqual(await edit("50", '[images]\npinned = ["busybox:1.37"]\n'), ["images.pinned"]);
    assert.match(await refusedEdit("51", '[images]\npinned = ["Not A Name"]\n'), /Not A Name/);
  });

  test("6. the address of the metrics is moved; one that is taken is refused, and the old one serves", async () => {
    const [first, second] = [await freePort(), await freePort()];
    await edit("60", `[metrics]\nlisten = "127.0.0.1:${first}"\n`);
    assert.match(await scrape(first), /davit_/);
    await edit("60", `[metrics]\nlisten = "127.0.0.1:${second}"\n`);
    await until("the old address is closed", () =>
      scrape(first).then(
        () => false,
        () => true,
      ),
    );
    const taken = await listen(createServer());
    const toml = `[metrics]\nlisten = "127.0.0.1:${taken}"\n[log]\nlevel = "error"\n`;
    assert.match(await refusedEdit("61", toml), /serve metrics\.listen = ".*": .*EADDRINUSE/);
    assert.match(await scrape(second), /davit_/);
    assert.equal((await section("log"))["level"], "debug");
    await edit("60", "");
    await until("no address is served", () =>
      scrape(second).then(
        () => false,
        () => true,
      ),
    );
  });

  test("7. tracing, which needs no restart in either direction", async () => {
    let posts = 0;
    const collector = createServer((request, response) => {
      posts += 1;
      request.resume().on("end", () => response.end());
    });
    const port = await listen(collector);
    const toml = `[tracing]\nendpoint = "http://127.0.0.1:${port}"\nsampling_ratio = 1\n`;
    assert.deepEqual(await edit("70", toml), ["tracing.endpoint", "tracing.sampling_ratio"]);
    await daemon.client.runtime.version({});
    await until("the span is sent", () => posts > 0);
    const key = `[tracing]\nheaders = { authorization = "Bearer of-nobody" }\n`;
    assert.deepEqual(await edit("71", key), ["tracing.headers"]);
    assert.ok(!daemon.lines.some(({ text }) => text.includes("of-nobody")));
    rmSync(fileOf("71"));
    await edit("70", "");
  });

  test("8. the timeout of NRI plugins", async () => {
    const keys = await edit("80", "[nri]\nplugin_request_timeout = 7\n");
    assert.deepEqual(keys, ["nri.plugin_request_timeout"]);
    assert.equal((await section("nri"))["pluginRequestTimeout"], 7);
  });

  test("9. the removal of unused images", async () => {
    await edit("90", "[images]\ngc_high_percent = 99\n");
    await until("it has begun", async () => {
      const gc = (await runtimeFact(daemon, "imageGc")) as { high?: number };
      return gc.high === 99;
    });
  });

  test("10. a wrong key is refused with the rest of the edit, and davit reload prints the reasons", async () => {
    const wrong = '[images]\nmax_layers = 7\n[cni]\nmax_paralel = 3\n[log]\nlevel = "loud"\n';
    const reasons = await refusedEdit("95", wrong);
    assert.match(reasons, /95\.toml:4: unknown key .*max_parallel/);
    assert.match(reasons, /95\.toml:6: "log\.level"/);
    writeFileSync(fileOf("95"), wrong);
    const { code: exit, out, err } = await davit.run("reload");
    rmSync(fileOf("95"));
    assert.deepEqual([exit, out], [1, ""]);
    assert.match(err, /^nothing was changed:\n {2}\S+95\.toml:4: /);
  });

  test("garbage among the drop-ins is refused or skipped, and does not hang the daemon", async () => {
    mkdirSync(fileOf("directory"));
    symlinkSync("/dev/zero", fileOf("zero"));
    symlinkSync("/nowhere", fileOf("dangling"));
    const reasons = await refusedEdit("big", "#".repeat(10 * 1024 * 1024));
    assert.match(reasons, /big\.toml: cannot be read: it is larger than/);
    assert.match(reasons, /dangling\.toml: cannot be read: it is a link/);
    assert.equal(reasons.split("\n").length, 2);
    rmSync(fileOf("dangling"));
    assert.deepEqual(await edit("99", ""), []);
  });

  test("what needs a restart is named, and takes effect with one", async () => {
    writeFileSync(fileOf("99"), "[runtime]\nretry_hold_seconds = 9\n[images]\nmax_layers = 9\n");
    const out = await davit.done("reload");
    assert.match(
      out,
      /^images\.max_layers: 500 -> 9\nwhen davit restarts \(.*\n {2}runtime\.retry/,
    );
    const from = daemon.lines.length;
    process.kill(daemon.pid, "SIGHUP");
    const line = await daemon.waitForLine(/these settings take effect when davit restarts/, from);
    assert.deepEqual(line.fields["keys"], ["runtime.retry_hold_seconds: 120 -> 9"]);
    assert.equal((await section("runtime"))["retryHoldSeconds"], 120);
    await daemon.restart();
    assert.equal((await section("runtime"))["retryHoldSeconds"], 9);
    assert.equal((await statusOf(daemon, running)).state, READY);
    await removePod(daemon, running);
  });
});
