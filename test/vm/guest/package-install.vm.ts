/** The Debian package on a node that systemd runs: the installation, ten edits, an upgrade, restarts; then an orderly shutdown. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import {
  archive,
  debianPackage,
  everything,
  type Expectation,
  expectationFile,
  manifest,
  must,
  run,
  writeInput,
} from "./package-node.ts";
import { bootId } from "./node-on-disk.ts";
import { limit, property, read, until } from "./service.ts";

writeInput();
// The first rule of a table makes the table's chains visible.
everything();
const before = everything();
let pod = "";
let container = "";

test("dpkg installs, enables and starts the service, which is active when davit serves", () => {
  must(`dpkg --install ${debianPackage}`);
  assert.equal(must("systemctl is-enabled davit.service").trim(), "enabled");
  assert.equal(property("ActiveState"), "active");
  assert.equal(property("Type"), "notify");
  assert.equal(property("StatusText"), "serving /run/davit/davit.sock");
  assert.equal(read(`/proc/${property("MainPID")}/cgroup`), "0::/system.slice/davit.service");
  assert.match(must("davit config show"), /cgroup_driver = "systemd" .*10-systemd\.toml/);
});

test("davit install adds the network, and leaves unit and configuration to the package", () => {
  const said = must("davit install --force");
  assert.match(said, /made +\/etc\/cni\/net\.d\/10-davit\.conflist/);
  assert.match(said, /left out +\/etc\/systemd\/system\/davit\.service/);
});

test("a pod runs under the unit, in slices and scopes of systemd: logs, exec, limits", async () => {
  assert.match(must(`davit load --input ${archive}`), /example\.test\/hello:1/);
  must(`davit run ${manifest}`);
  pod = must("davit pods --quiet --no-trunc").trim();
  container = must("davit ps --quiet --no-trunc").trim();
  await until("the log", () => run("davit logs hello").text === "hello from systemd\n");
  assert.equal(must("davit exec hello echo alive"), "alive\n");
  const cgroup = must("davit exec hello cat /proc/self/cgroup").trim();
  assert.match(cgroup, /^0::\//);
  assert.equal(limit(`/${scope()}`, "memory.max"), String(64 << 20));
});

/** The path of the container's scope below the root of cgroups. */
function scope(): string {
  return (
    must("cd /sys/fs/cgroup; find * -name 'cri-containerd-*.scope'").trim().split("\n")[0] ?? ""
  );
}

function isAlive(): void {
  assert.equal(must("davit ps --quiet --no-trunc").trim(), container);
  assert.equal(must("davit exec hello echo alive"), "alive\n");
}

/** The reloads in the journal: what each one changed, or why it was refused. */
function reloads(): readonly string[] {
  return must("journalctl --unit=davit --output=cat --no-pager")
    .split("\n")
    .filter((line) => line.includes('"cause":"SIGHUP"'));
}

const edits: readonly (readonly [name: string, toml: string, told: RegExp])[] = [
  ["20-log", '[log]\nlevel = "debug"\n', /log\.level/],
  ["30-handler", '[runtime.handlers.second]\npath = "/usr/bin/crun"\n', /handlers\.second: none/],
  ["30-handler", "", /handlers\.second: .*none/],
  ["40-pinned", '[images]\npinned = ["example.test/hello:1"]\n', /images\.pinned/],
  ["50-metrics", '[metrics]\nlisten = "127.0.0.1:9100"\n', /metrics\.listen/],
  ["50-metrics", '[metrics]\nlisten = "127.0.0.1:9101"\n', /metrics\.listen.*9100.*9101/],
  ["60-nri", "[nri]\nplugin_request_timeout = 3\n", /nri\.plugin_request_timeout/],
  ["70-gc", "[images]\ngc_high_percent = 90\n", /images\.gc_high_percent/],
  ["80-wrong", '[images]\npinnd = ["a"]\n[log]\nlevel = "warn"\n', /pinnd/],
  ["80-wrong", "", /"changed":\[\]/],
];

test("ten edits by systemctl reload, one of them wrong: the journal tells what each one did", async () => {
  const main = property("MainPID");
  for (const [index, [name, toml, told]] of edits.entries()) {
    writeFileSync(`/etc/davit/davit.toml.d/${name}.toml`, toml);
    must("systemctl reload davit.service");
    await until(`edit ${index + 1}`, () => reloads().length > index);
    assert.match(reloads()[index] ?? "", told);
    assert.equal(property("ActiveState"), "active");
    isAlive();
  }
  assert.equal(property("MainPID"), main);
  assert.equal(must("davit reload"), "no setting has changed\n");
  for (const name of ["30-handler", "80-wrong"]) rmSync(`/etc/davit/davit.toml.d/${name}.toml`);
});

test("pods keep running when the service is restarted, stopped and started, and upgraded", () => {
  const restarts = [
    "systemctl restart davit.service",
    "systemctl stop davit.service; systemctl start davit.service",
    `dpkg --install ${debianPackage}`,
  ];
  for (const command of restarts) {
    const main = property("MainPID");
    must(command);
    assert.notEqual(property("MainPID"), main, command);
    assert.equal(property("ActiveState"), "active", command);
    isAlive();
  }
  // The edits are still there, and the package has kept the network and the drop-ins.
  assert.match(must("davit config show"), /pinned = \["example\.test\/hello:1"\]/);
});

test("journalctl has the log of the daemon", () => {
  const text = must("journalctl --unit=davit --output=cat --no-pager");
  assert.match(text, /"message":"ready"/);
  const errors = text.split("\n").filter((line) => line.includes('"level":"error"'));
  assert.deepEqual(
    errors.filter((line) => !line.includes("pinnd")),
    [],
  );
  assert.equal(property("NRestarts"), "0");
});

test("what the second boot must find is written", () => {
  const expectation: Expectation = { before, bootId: bootId(), pod };
  writeFileSync(expectationFile, JSON.stringify(expectation));
});
