/**
 * `davit install` and `davit uninstall` on what looks like a fresh machine with systemd: empty directories where an
 * installation writes, a network namespace, and a systemctl that does what the real one would do with the unit.
 * What is there before and after is compared.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { dockerArchive, tarOf } from "../support/archives.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";

const repo = path.resolve(import.meta.dirname, "../..");

const freshMachine = `
  for directory in /var/lib /opt /usr/local /run; do mount -t tmpfs davit-test-install $directory; done
  # /run/crun is made by crun, and /run/mount by mount.
  mkdir -p /run/etc/upper /run/etc/work /usr/local/bin /opt/davit /run/systemd/system /run/crun /run/mount
  mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work davit-test-install /etc
  rm -rf /etc/cni /etc/crictl.yaml /etc/davit /etc/kubernetes
  mount --bind "$0" /opt/davit
  ip link set lo up
  echo ready
  exec sleep 3600`;

/** As far as davit uses it. Its state is in a directory that is not compared. */
const systemctl = `#!/bin/sh
state=/opt/systemd; mkdir -p $state
echo "$*" >>$state/calls
pid() { head -n 1 /run/davit/davit.lock 2>/dev/null; }
active() { [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }
stop() { p=$(pid); [ -z "$p" ] || { kill "$p"; while kill -0 "$p" 2>/dev/null; do sleep 0.05; done; }; }
case "$*" in
  daemon-reload) ;;
  "is-enabled davit.service") [ -e $state/enabled ] && echo enabled || { echo disabled; exit 1; } ;;
  "is-active davit.service") active && echo active || { echo inactive; exit 3; } ;;
  "enable davit")
    [ ! -e $state/broken ] || { echo "Failed to enable unit: broken" >&2; exit 1; }
    touch $state/enabled ;;
  "disable davit") rm -f $state/enabled ;;
  "stop davit") stop ;;
  "disable --now davit")
    rm -f $state/enabled
    [ ! -e $state/late ] || { rm $state/late; davit run "$(dirname "$0")/pod.yaml" >&2; }
    stop ;;
  "start davit")
    [ ! -e $state/slow ] || { rm $state/slow; exec sleep 3600; }
    setsid $(sed -n 's/^ExecStart=//p' /etc/systemd/system/davit.service) >$state/log 2>&1 </dev/null &
    while ! [ -S /run/davit/davit.sock ]; do sleep 0.05; done ;;
  *) echo "unexpected: $*" >&2; exit 1 ;;
esac
`;

const pod = `
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: example.test/app:1
      imagePullPolicy: Never
      command: [sleep, "3600"]
      ports: [{ containerPort: 8080, hostPort: 8077 }]
      volumeMounts: [{ name: data, mountPath: /data }]
  volumes: [{ name: data, emptyDir: {} }]
`;

const directory = mkdtempSync(path.join(tmpdir(), "davit-install-"));
let machine: ChildProcess;

before(async () => {
  const image = imageOf([busyboxLayer()], { Cmd: ["sh"] });
  const archive = tarOf(dockerArchive([{ image, tags: ["example.test/app:1"] }]));
  writeFileSync(path.join(directory, "app.tar"), archive);
  writeFileSync(path.join(directory, "pod.yaml"), pod);
  writeFileSync(path.join(directory, "systemctl"), systemctl, { mode: 0o755 });
  const args = ["--mount", "--net", "--propagation", "private", "sh", "-euc", freshMachine, repo];
  machine = spawn("unshare", args, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: machine.stdout ?? process.stdin });
  const [line] = (await once(lines, "line")) as [string];
  assert.equal(line, "ready");
});

after(async () => {
  await type("pid=$(head -n 1 /run/davit/davit.lock) && kill $pid || true");
  machine.kill("SIGKILL");
  await once(machine, "exit");
  rmSync(directory, { recursive: true });
});

/** Runs a command on the machine. */
async function run(
  command: string,
): Promise<{ readonly code: number | null; readonly said: string }> {
  const args = ["-t", String(machine.pid), "-m", "-n", "sh", "-uc", command];
  const child = spawn("nsenter", args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      ...{ NODE_TEST_CONTEXT: undefined, DAVIT_ENDPOINT: undefined },
      PATH: `${directory}:/usr/local/bin:/opt/davit/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    },
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, said: Buffer.concat(chunks).toString() };
}

/** As run(), for a command that must succeed. */
async function type(command: string): Promise<string> {
  const { code, said } = await run(command);
  assert.equal(code, 0, `${command}\n${said}`);
  return said;
}

/** All files, links, mounts, devices and rules on the machine, except the program and what systemctl keeps. */
async function everything(): Promise<readonly string[]> {
  const lines = await type(`
    find /etc/cni /etc/davit /etc/crictl.yaml /etc/systemd /var/lib /var/log/pods /usr/local /run \\
      -path /run/etc -prune -o -print 2>/dev/null | sort
    cut -d ' ' -f 5 /proc/self/mountinfo | grep -v ^/sys | sort
    ip -o link | cut -d : -f 2
    for tables in iptables ip6tables; do $tables -w -t nat -S; $tables -w -t filter -S; done`);
  return lines.split("\n");
}

/** Runs a pod with a host port, and returns its id. */
async function runPod(): Promise<string> {
  await type(`davit load ${directory}/app.tar && davit run ${directory}/pod.yaml`);
  const id = (await type("davit pods -q")).trim();
  assert.match(await type("iptables -w -t nat -S"), /CNI-HOSTPORT-DNAT/);
  return id;
}

const install = "davit install --force";

test("install, run a pod, uninstall --all: nothing is left", async () => {
  // The first rule of a table makes the table's chains visible.
  await everything();
  const before = await everything();
  assert.match(await type("davit install --dry-run"), /would do/);
  assert.deepEqual(await everything(), before);

  assert.match(await type(`${install} --now`), /made +\/etc\/davit\/davit\.toml/);
  // What a running davit writes by itself is not compared.
  const files = "find /etc /usr/local -type f -exec stat -c '%n %Y %i' {} + | sort";
  const made = await type(files);
  assert.match(await type(install), /Nothing to do/);
  assert.equal(await type(files), made);
  assert.match(
    await type("cat /etc/systemd/system/davit.service"),
    /^ExecStart=\/opt\/davit\/bin\/davit serve$/m,
  );

  const id = await runPod();
  const refused = await run("davit uninstall");
  assert.equal(refused.code, 1);
  assert.match(refused.said, /1 pod on this node; .*--force/);
  assert.match((await run("davit uninstall --dry-run")).said, /It would refuse: 1 pod/);
  assert.match(
    await type("davit uninstall --all --dry-run"),
    /1 pod and all images.*\n.*disable --now/,
  );
  assert.equal((await type("davit pods -q")).trim(), id);

  await type("davit uninstall --all");
  assert.deepEqual(await everything(), before);
  assert.equal(await type(`find /sys/fs/cgroup -name '*${id}*'`), "");
  assert.equal((await run("cat /opt/systemd/enabled")).code, 1);
});

test("without a daemon, pods are removed by their records; changed files stay until --all", async () => {
  const before = await everything();
  await type(`${install} --now`);
  const id = await runPod();
  await type("pid=$(head -n 1 /run/davit/davit.lock); kill -9 $pid; rm -f /opt/systemd/enabled");
  await type("echo '# mine' >>/etc/crictl.yaml");
  const refused = await run("davit uninstall");
  assert.match(refused.said, /1 pod on this node/);

  const first = await run("davit uninstall --force");
  assert.equal(first.code, 1, first.said);
  assert.match(first.said, /kept +\/etc\/crictl\.yaml +changed since/);
  assert.equal((await run("cat /etc/systemd/system/davit.service")).code, 1);
  assert.equal(await type(`find /sys/fs/cgroup -name '*${id}*'`), "");
  await type("davit uninstall --all");
  assert.deepEqual(await everything(), before);
});

test("uninstall removes nothing while a pod runs that came after the others were removed", async () => {
  const before = await everything();
  await type(`${install} --now`);
  await type(`davit load ${directory}/app.tar && touch /opt/systemd/late`);
  const { code, said } = await run("davit uninstall");
  assert.equal(code, 1);
  assert.match(said, /1 pod came meanwhile, and davit is stopped; stop kubelet/);
  await type("test -f /etc/systemd/system/davit.service");
  await type("davit uninstall --all");
  assert.deepEqual(await everything(), before);
});

test("an installation that fails undoes what it has made", async () => {
  const before = await everything();
  await type("touch /opt/systemd/broken");
  const { code, said } = await run(install);
  assert.equal(code, 1);
  assert.match(said, /run "systemctl enable davit": Failed to enable unit: broken/);
  assert.deepEqual(await everything(), before);
  await type("rm /opt/systemd/broken");
});

test("Ctrl-C undoes what this run has made, also while systemd starts the service", async () => {
  const before = await everything();
  const { code, said } = await run(`
    touch /opt/systemd/slow; : >/opt/systemd/calls
    ${install} --now & pid=$!
    while ! grep -q '^start davit' /opt/systemd/calls; do kill -0 $pid || exit 1; sleep 0.05; done
    test -f /etc/systemd/system/davit.service || exit 1
    kill -INT $pid; wait $pid`);
  assert.equal(code, 130, said);
  assert.match(said, /install davit: interrupted; what it had made is undone/);
  assert.deepEqual(await everything(), before);
  const calls = (await type("cat /opt/systemd/calls")).split("\n");
  const undone = ["start davit", "stop davit", "disable davit", "daemon-reload"];
  assert.deepEqual(calls.slice(calls.indexOf("start davit")), [...undone, ""]);
});

test("the unit of an unpacked archive names the link, so that the next version only sets it", async () => {
  const before = await everything();
  const unit = "/etc/systemd/system/davit.service";
  // As after the commands of INSTALL: /opt/davit is a link. Here the directory is a mount, so the link is elsewhere.
  await type(`
    mkdir -p /opt/archive/davit-1 /opt/archive/davit-2
    for version in 1 2; do mount --bind /opt/davit /opt/archive/davit-$version; done
    ln -s davit-1 /opt/archive/davit`);
  // Without the davit of the other tests on the PATH.
  const program = `PATH=${directory}:/usr/sbin:/usr/bin:/sbin:/bin /opt/archive/davit/bin/davit`;
  await type(`${program} install --force`);
  assert.match(await type(`cat ${unit}`), /^ExecStart=\/opt\/archive\/davit\/bin\/davit serve$/m);
  await type("ln -sfn davit-2 /opt/archive/davit");
  assert.match(await type(`${program} install --force`), /Nothing to do/);
  await type(`${program} uninstall --all`);
  await type("umount /opt/archive/davit-1 /opt/archive/davit-2; rm -r /opt/archive");
  assert.deepEqual(await everything(), before);
});

test("--root installs into the tree of another machine, runs nothing there, and uninstalls from it", async () => {
  const tree = "/run/tree";
  await type(`mkdir ${tree}`);
  const before = await everything();
  const calls = "wc -l </opt/systemd/calls";
  const callsBefore = await type(calls);
  const said = await type(`davit install --root ${tree}`);
  assert.match(said, /systemctl --root=\/run\/tree enable davit/);
  await type(`test -f ${tree}/etc/davit/davit.toml && test ! -e /etc/davit`);
  assert.match(await type(`davit install --root ${tree}`), /Nothing to do/);
  await type(`davit uninstall --root ${tree}`);
  assert.equal(await type(calls), callsBefore);
  assert.deepEqual(
    (await everything()).filter((line) => !/^\/run\/tree\/var/.test(line)),
    before,
  );
  await type(`rm -r ${tree}`);
});
