/** `davit doctor` on the real machine: all problems that a test can cause in its own namespaces. */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { type Conflist, ScriptedPlugin, testBridge, writeConflist } from "../support/cni.ts";
import { type ConfigTable, TestDaemon } from "../support/daemon.ts";
import { podConfig } from "../support/pod.ts";
import {
  bare,
  cgroupsThere,
  code,
  endDaemon,
  failsWith,
  launchDaemon,
  openDatabase,
  parentOf,
  runPod,
} from "../support/suites/pods.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const forward = "/proc/sys/net/ipv4/ip_forward";

interface Found {
  readonly id: string;
  readonly severity: string;
  readonly found: string;
  readonly fix?: string;
}

interface Outcome {
  readonly code: number | null;
  readonly findings: readonly Found[];
  readonly ids: readonly string[];
  readonly leftOut: readonly string[];
  readonly fixed: readonly string[];
}

/** Runs a command line to its end; the doctor's answer is the JSON that it prints. */
async function outcomeOf(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = execFile(program, args, {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    timeout: 120_000,
  });
  let out = "";
  let err = "";
  child.stdout?.on("data", (text: string) => (out += text));
  child.stderr?.on("data", (text: string) => (err += text));
  const [code] = (await once(child, "close")) as [number | null];
  assert.ok(out.startsWith("{"), `${program} ${args.join(" ")}: ${code ?? ""} ${err}${out}`);
  const report = JSON.parse(out) as Omit<Outcome, "code" | "ids">;
  return { ...report, code, ids: report.findings.map(({ id }) => id) };
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(" ");
}

let daemon: TestDaemon;
let plugin: ScriptedPlugin;

function command(only: string, ...more: readonly string[]): readonly string[] {
  const groups = only.split(" ").flatMap((group) => ["--only", group]);
  return ["doctor", "--config", daemon.paths.config, "-o", "json", ...groups, ...more];
}

const davit = path.join(repo, "bin/davit");
const doctor = (only: string, ...more: readonly string[]): Promise<Outcome> =>
  outcomeOf(davit, command(only, ...more));

/** The same in a mount namespace of its own, which `script` changes first. */
const doctorAfter = (script: string, only: string): Promise<Outcome> =>
  outcomeOf("unshare", [
    ...["--mount", "--propagation", "private", "sh", "-c"],
    `set -e\n${script}\nexec ${quoted([davit, ...command(only)])}`,
  ]);

function conflist(plugins: Conflist["plugins"], cniVersion = "1.0.0"): void {
  rmSync(daemon.paths.confDir, { recursive: true, force: true });
  writeConflist(daemon.paths.confDir, "10-test.conflist", { cniVersion, name: "odd", plugins });
}

function assertFinds({ ids, findings }: Outcome, ...wanted: readonly string[]): void {
  for (const id of wanted) assert.ok(ids.includes(id), `no ${id} in ${JSON.stringify(findings)}`);
}

/** A socket file without a server, as a killed daemon leaves it. */
async function leaveSocket(file: string): Promise<void> {
  const script = `require("net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 9))`;
  const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
  await once(child, "exit");
  assert.ok(existsSync(file));
}

function listen(server: Server, at: string | number): Promise<unknown> {
  server.listen(at);
  return once(server, "listening");
}

before(() => {
  writeFileSync(forward, "1");
});

beforeEach(() => {
  daemon = TestDaemon.prepare({ config: {} });
  plugin = new ScriptedPlugin(daemon.paths.directory);
  mkdirSync(daemon.paths.root);
  mkdirSync(daemon.paths.state);
  configure({});
});

afterEach(async () => {
  if (existsSync(daemon.paths.socket) && daemon.lines.length > 0) await endDaemon(daemon);
  else await daemon[Symbol.asyncDispose]();
});

function configure(changes: ConfigTable): void {
  const bins = { cni: { bin_dirs: [plugin.binDir, "/usr/lib/cni"] } };
  daemon.writeConfig({ ...bins, ...changes });
}

describe("davit doctor", () => {
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

describe("davit doctor on disks", () => {
  const mounted = (options: string, only = "disk"): Promise<Outcome> =>
    doctorAfter(`mount -t ${options} ${daemon.paths.root}`, only);

  test("says what is wrong with the file system of root", async () => {
    const { root } = daemon.paths;
    const fill = `for i in $(seq 38); do : >${root}/$i; done`;
    const leave10 = `mount -t tmpfs -o size=80m,mode=0711 t ${root}; fallocate -l 70m ${root}/file`;
    const [readOnly, small, full, inodes, open] = await Promise.all([
      mounted("tmpfs -o ro,mode=0711 t"),
      mounted("tmpfs -o size=1m,mode=0711 t"),
      doctorAfter(leave10, "disk"),
      doctorAfter(`mount -t tmpfs -o nr_inodes=40,mode=0711 t ${root}; ${fill}`, "disk"),
      mounted("tmpfs -o mode=0777 t"),
    ]);
    assertFinds(readOnly, "disk.read-only");
    assertFinds(small, "disk.too-small");
    assertFinds(full, "disk.full");
    assertFinds(inodes, "disk.inodes-low");
    assertFinds(open, "disk.open-to-others");
    const { directory } = daemon.paths;
    for (const name of ["lower", "upper", "work"]) mkdirSync(path.join(directory, name));
    const layers = `lowerdir=${directory}/lower,upperdir=${directory}/upper,workdir=${directory}/work`;
    assertFinds(await mounted(`overlay -o ${layers} o`), "disk.overlay-refused");
  });

  test("finds a state directory with little free space", async () => {
    const { state } = daemon.paths;
    const script = `mount -t tmpfs -o size=90m t ${state}; fallocate -l 60m ${state}/file`;
    assertFinds(await doctorAfter(script, "disk"), "disk.space-low");
  });

  test("creates missing directories if requested", async () => {
    rmSync(daemon.paths.root, { recursive: true });
    assertFinds(await doctor("disk"), "disk.directory-missing");
    const fixed = await doctor("disk", "--fix");
    assert.deepEqual(fixed.fixed, [`created the directory ${daemon.paths.root}`]);
    rmSync(daemon.paths.root, { recursive: true });
    writeFileSync(daemon.paths.root, "");
    assertFinds(await doctor("disk"), "disk.not-a-directory");
  });
});

describe("davit doctor on the kernel's mounts", () => {
  test("finds cgroups that are not mounted, or read-only", async () => {
    assertFinds(await doctorAfter("umount -R /sys/fs/cgroup", "cgroups"), "cgroups.none");
    const readOnly = `for m in $(grep -o ' /sys/fs/cgroup[^ ]* cgroup' /proc/mounts | cut -d' ' -f2); do
      mount -o remount,bind,ro $m; done`;
    assertFinds(await doctorAfter(readOnly, "cgroups"), "cgroups.read-only");
  });

  test("finds what only cgroup v2, and what an incomplete v1, does not offer", async () => {
    const alone = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup";
    const found = await doctorAfter(alone, "cgroups");
    const isV2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
    // Where the host has its controllers on v1, v2 has none of them.
    assertFinds(found, isV2 ? "cgroups.fine" : "cgroups.controller-missing");
    const cpuset = "/sys/fs/cgroup/cpuset";
    if (existsSync(cpuset)) {
      const gap = await doctorAfter(`umount ${cpuset}`, "cgroups");
      assertFinds(gap, "cgroups.v1-in-use", "cgroups.controller-wanted");
    }
  });

  test("reads the kernel's own files", async () => {
    const files: Readonly<Record<string, readonly [file: string, text: string]>> = {
      "kernel.pid-max-low": ["/proc/sys/kernel/pid_max", "32768"],
      "kernel.inotify-instances-low": ["/proc/sys/fs/inotify/max_user_instances", "128"],
      "kernel.inotify-watches-low": ["/proc/sys/fs/inotify/max_user_watches", "8192"],
      "kernel.userns-off": ["/proc/sys/user/max_user_namespaces", "0"],
      "kernel.namespaces-few": ["/proc/sys/user/max_net_namespaces", "10"],
      "kernel.seccomp-missing": ["/proc/sys/kernel/seccomp/actions_avail", "allow"],
      "kernel.overlay-missing": ["/proc/filesystems", "ext4"],
      "kernel.erofs-missing": ["/proc/filesystems", "ext4"],
    };
    const other = path.join(daemon.paths.directory, "modules");
    mkdirSync(other);
    const modules = `if [ -d /lib/modules ]; then mount --bind ${other} /lib/modules; fi`;
    const binds = Object.entries(files).map(([id, [file, text]]) => {
      const fake = path.join(daemon.paths.directory, id);
      writeFileSync(fake, `${text}\n`);
      return `mount --bind ${fake} ${file}`;
    });
    assertFinds(await doctorAfter([modules, ...binds].join("\n"), "kernel"), ...Object.keys(files));
  });

  test("finds how mounts propagate, and a read-only /sys", async () => {
    assertFinds(await doctorAfter("mount --make-rprivate /", "mounts"), "mounts.root-not-shared");
    const shared = await doctorAfter("mount --make-shared /", "mounts");
    assert.equal(shared.ids.includes("mounts.root-not-shared"), false);
    const pins = path.join(daemon.paths.state, "ns");
    mkdirSync(pins);
    const script = `mount -t tmpfs t ${pins}; mount --make-shared ${pins}`;
    assertFinds(await doctorAfter(script, "mounts"), "mounts.namespaces-shared");
    const hidden = await doctorAfter("mount -t proc -o hidepid=4 proc /proc", "mounts");
    assertFinds(hidden, "mounts.proc-hidden");
    const sys = await doctorAfter("mount -o remount,bind,ro /sys", "mounts");
    assertFinds(sys, "mounts.sys-read-only");
  });
});

describe("davit doctor on capabilities", () => {
  const without = (...flags: readonly string[]): Promise<Outcome> =>
    outcomeOf("setpriv", [...flags, davit, ...command("capabilities")]);

  test("finds capabilities that root does not have", async () => {
    const [network, resource, boot, noNew] = await Promise.all([
      without("--bounding-set", "-net_admin"),
      without("--bounding-set", "-sys_resource"),
      without("--bounding-set", "-sys_boot"),
      without("--no-new-privs"),
    ]);
    assertFinds(network, "capabilities.missing");
    assertFinds(resource, "capabilities.no-sys-resource");
    assertFinds(boot, "capabilities.bounded");
    assertFinds(noNew, "capabilities.no-new-privs");
  });
});

describe("davit doctor on programs", () => {
  test("finds programs that are missing, broken or old", async () => {
    const script = (name: string, text: string): string => {
      const file = path.join(daemon.paths.directory, name);
      writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
      return file;
    };
    const paths = (monitor: string, crun: string, runc: string): void =>
      configure({
        runtime: {
          monitor_path: monitor,
          handlers: { crun: { path: crun }, runc: { path: runc } },
        },
      });
    paths("/nowhere/conmon", "/nowhere/crun", "/nowhere/runc");
    assertFinds(
      await doctor("programs"),
      ...[
        "programs.monitor-missing",
        "programs.default-runtime-missing",
        "programs.runtime-missing",
      ],
    );
    const broken = script("broken", "echo cannot load a library >&2; exit 127");
    const old = script("old", 'echo "an old one"; [ "$1" != features ]');
    const plain = script("plain", "echo '{}'");
    paths(broken, broken, old);
    assertFinds(
      await doctor("programs"),
      ...["programs.monitor-broken", "programs.runtime-broken", "programs.runtime-old"],
    );
    paths(old, plain, plain);
    assertFinds(await doctor("programs"), "programs.monitor-old", "programs.runtime-no-seccomp");
  });

  test("finds a missing addon", async () => {
    const alone = path.join(daemon.paths.directory, "davit.cjs");
    copyFileSync(path.join(repo, "dist/davit.cjs"), alone);
    const outcome = await outcomeOf(process.execPath, [alone, ...command("programs")]);
    assertFinds(outcome, "programs.addon-broken");
    assert.equal(outcome.code, 1);
  });
});

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
    // The test's own /run.
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
    // The socket goes, and whoever holds the lock does not serve it.
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
    // Of the other pod nothing is left but its cgroup, which nobody knows any more.
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
    // Accepts, and says nothing forever.
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

after(() => {
  spawnSync("ip", ["link", "delete", testBridge], { stdio: "ignore" });
});
