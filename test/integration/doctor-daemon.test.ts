/** `davit doctor` on sockets, on a running or dead daemon, on the configuration and on registries. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { podConfig } from "../support/pod.ts";
import {
  bare,
  cgroupsThere,
  code,
  failsWith,
  launchDaemon,
  openDatabase,
  parentOf,
  runPod,
} from "../support/suites/pods.ts";
import {
  daemon,
  plugin,
  doctor,
  doctorAfter,
  conflist,
  assertFinds,
  leaveSocket,
  listen,
  configure,
  prepareDaemons,
} from "../support/suites/doctor.ts";

prepareDaemons();

describe("davit doctor on sockets and the daemon", () => {
  test("removes a stale socket if requested, and no other", async () => {
    const { socket } = daemon.paths;
    assertFinds(await doctor("sockets"), "sockets.absent");
    await leaveSocket(socket);
    assertFinds(await doctor("sockets"), "sockets.stale");
    const fixed = await doctor("sockets", "--fix");
    assert.deepEqual(fixed.fixed, [`removed the stale socket ${socket}`]);
    assert.equal(existsSync(socket), false);
    writeFileSync(socket, "");
    assertFinds(await doctor("sockets", "--fix"), "sockets.not-a-socket");
    assert.ok(existsSync(socket));
  });

  test("finds a server that does not answer", async () => {
    const server = createServer(() => undefined);
    await listen(server, daemon.paths.socket);
    chmodSync(daemon.paths.socket, 0o666);
    // /run is the test's own.
    mkdirSync("/run/containerd");
    const other = createServer(() => undefined);
    await listen(other, "/run/containerd/containerd.sock");
    const outcome = await doctor("sockets daemon");
    assertFinds(outcome, "sockets.silent", "sockets.open-to-others", "sockets.other-runtime");
    server.close();
    other.close();
    rmSync("/run/containerd", { recursive: true });
  });

  test("finds a kubelet and a crictl that are configured for another runtime", async () => {
    const { directory } = daemon.paths;
    for (const name of ["upper", "work"]) mkdirSync(path.join(directory, name));
    const script = `mount -t overlay -o lowerdir=/etc,upperdir=${directory}/upper,workdir=${directory}/work o /etc
      echo 'runtime-endpoint: unix:///run/x.sock' >/etc/crictl.yaml
      mount -t tmpfs t /var/lib; mkdir /var/lib/kubelet
      printf '%s\\n' 'cgroupDriver: systemd' 'containerRuntimeEndpoint: "unix:///run/x.sock"' \
        >/var/lib/kubelet/config.yaml`;
    const outcome = await doctorAfter(script, "sockets cgroups");
    assertFinds(outcome, "sockets.crictl-elsewhere", "sockets.kubelet-elsewhere");
    assertFinds(outcome, "cgroups.kubelet-driver");
  });

  test("reports what a running daemon says about itself, and what a dead one has left", async () => {
    await launchDaemon(daemon);
    const running = await doctor("sockets daemon leftovers configuration");
    assertFinds(running, "sockets.davit", "daemon.fine", "leftovers.fine");
    assert.equal(running.code, 0);
    configure({ cni: { conf_dir: daemon.paths.confDir, max_parallel: 3 } });
    assertFinds(await doctor("daemon"), "daemon.configuration-changed");
    configure({});
    await runPod(daemon, podConfig());
    // Without its socket, the daemon that holds the lock cannot be reached.
    rmSync(daemon.paths.socket);
    assertFinds(await doctor("sockets"), "sockets.daemon-unreachable");
    await daemon.kill9();
    assertFinds(await doctor("sockets leftovers"), "leftovers.pods-without-daemon");
    const pins = readdirSync(path.join(daemon.paths.state, "ns/net"));
    for (const id of pins) spawnSync("umount", [path.join(daemon.paths.state, "ns/net", id)]);
    assertFinds(await doctor("leftovers"), "leftovers.stale-namespaces");
    await launchDaemon(daemon);
  });

  test("says that the network of a running daemon is not ready", async () => {
    await launchDaemon(daemon);
    rmSync(path.join(daemon.paths.confDir, "10-test.conflist"));
    await daemon.waitForLine(/no pod network/);
    await assert.rejects(runPod(daemon, podConfig()), failsWith(code.unavailable));
    const outcome = await doctor("daemon");
    assertFinds(outcome, "daemon.network-not-ready", "daemon.requests-failed");
    assert.equal(outcome.code, 1);
  });

  test("reports records that were set aside, and networks that are still to be removed", async () => {
    await launchDaemon(daemon);
    const config = bare();
    const broken = await runPod(daemon, config);
    await daemon.stop();
    {
      using database = openDatabase(daemon);
      database.prepare("UPDATE sandbox SET request = x'0aff' WHERE id = ?").run(broken);
    }
    conflist([{ type: "scripted" }]);
    const result = { cniVersion: "1.0.0", ips: [{ address: "10.9.0.2/24" }] };
    plugin.on("ADD", { does: "succeed", result });
    plugin.on("DEL", { does: "fail", error: { code: 100, msg: "cannot release" } });
    await launchDaemon(daemon);
    const podSandboxId = await runPod(daemon, podConfig());
    await assert.rejects(daemon.client.runtime.stopPodSandbox({ podSandboxId }), /cannot release/);
    const outcome = await doctor("daemon");
    assertFinds(outcome, "daemon.records-set-aside", "daemon.network-removals-pending");
    assert.match(JSON.stringify(outcome.findings), /cannot release/);
    plugin.on("DEL", { does: "succeed" });
    await daemon.client.runtime.stopPodSandbox({ podSandboxId });
    // Only the cgroup of the other pod is left, because its record was set aside.
    for (const directory of cgroupsThere(parentOf(config))) rmdirSync(directory);
  });

  test("finds files that are older than this boot, or newer than the clock", async () => {
    const lock = path.join(daemon.paths.state, "davit.lock");
    const database = path.join(daemon.paths.root, "davit.db");
    for (const file of [lock, database]) writeFileSync(file, "");
    utimesSync(lock, 1e9, 1e9);
    const inTwoYears = Date.now() / 1000 + 6e7;
    utimesSync(database, inTwoYears, inTwoYears);
    assertFinds(await doctor("leftovers clock"), "leftovers.previous-boot", "clock.went-back");
  });

  test("clears the scratch directory of a doctor that was killed", async () => {
    const gone = spawnSync("true").pid;
    const scratch = mkdtempSync(path.join(tmpdir(), `davit-doctor-${gone}-`));
    assertFinds(await doctor("leftovers"), "leftovers.doctor-scratch");
    const fixed = await doctor("leftovers", "--fix");
    assert.deepEqual(fixed.fixed, [`removed ${scratch}`]);
    assert.equal(existsSync(scratch), false);
  });
});

describe("davit doctor on the configuration and registries", () => {
  test("names each problem of the file, and continues with the defaults", async () => {
    writeFileSync(daemon.paths.config, 'roott = "/x"\n[cni]\nmax_parallel = 0\n');
    const outcome = await doctor("configuration");
    assert.deepEqual(outcome.ids, ["configuration.invalid", "configuration.invalid"]);
    assert.match(outcome.findings[0]?.found ?? "", /davit\.toml:1: .*roott.*"root"/);
    assert.equal(outcome.code, 1);
    configure({
      root: path.join(daemon.paths.state, "root"),
      runtime: {
        handlers: { kata: { controller: "shim", runtime_type: "io.containerd.kata.v2" } },
      },
    });
    const odd = await doctor("configuration");
    assertFinds(odd, "configuration.root-in-state");
    rmSync(daemon.paths.config);
    assertFinds(await doctor("configuration"), "configuration.invalid");
  });

  test("checks the requested registries, and no other", async () => {
    const certs = path.join(daemon.paths.directory, "certs.d");
    configure({ images: { registry_config_path: certs } });
    const write = (name: string, text: string): void => {
      mkdirSync(path.join(certs, name), { recursive: true });
      writeFileSync(path.join(certs, name, "hosts.toml"), text);
    };
    // Accepts connections and never answers.
    const mute = createServer(() => undefined);
    const well = createServer((client) => client.end("HTTP/1.1 401 Unauthorized\r\n\r\n"));
    const ill = createServer((client) => client.end("HTTP/1.1 503 Unavailable\r\n\r\n"));
    for (const server of [mute, well, ill]) {
      server.on("connection", (client) => client.on("error", () => undefined));
      await listen(server, 0);
    }
    const at = (server: Server): string => {
      const address = server.address();
      assert.ok(address !== null && typeof address === "object");
      return `http://127.0.0.1:${address.port}`;
    };
    write("well.test", `server = "${at(well)}"\n`);
    write("ill.test", `server = "${at(ill)}"\n[host."http://127.0.0.1:1"]\n`);
    write("mute.test", `server = "${at(mute)}"\n`);
    write("wrong.test", "srever = 3\n");
    write("nowhere.test", 'server = "https://nowhere.invalid"\n');
    const asleep = await doctor("registries");
    assert.deepEqual(asleep.ids, []);
    const outcome = await doctor("registries", "--registries", "--image", "127.0.0.1:1/a:b");
    assertFinds(outcome, "registries.reachable", "registries.server-error");
    assertFinds(outcome, "registries.mirror-unreachable", "registries.host-unreachable");
    assertFinds(outcome, "registries.file-invalid", "registries.image-missing");
    assertFinds(outcome, "registries.name-unknown");
    for (const server of [mute, well, ill]) server.close();
  });

  test("ends even if the read of a file never returns", async () => {
    const fifo = path.join(daemon.paths.state, "davit.lock");
    assert.equal(spawnSync("mkfifo", [fifo]).status, 0);
    const outcome = await doctor("sockets clock");
    assertFinds(outcome, "doctor.late");
    assert.equal(outcome.code, 1);
    rmSync(fifo);
  });
});
