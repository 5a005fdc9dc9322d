/** The node of the tests of the Debian package: its shell, what is on it, and what one boot leaves for the next. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ociLayout, tarOf } from "../../support/archives.ts";
import { busyboxLayer, imageOf } from "../../support/images.ts";

const directory = "/var/tmp/davit-vm";
export const debianPackage = path.join(directory, "davit.deb");
export const archive = path.join(directory, "hello.tar");
export const manifest = path.join(directory, "hello.yaml");
/** What the second boot must find; the first one has succeeded if it exists. */
export const expectationFile = path.join(directory, "expectation.json");

/** The facts that the first boot leaves. */
export interface Expectation {
  /** What was on the node before the package. */
  readonly before: readonly string[];
  readonly bootId: string;
  readonly pod: string;
}

const pod = `
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  containers:
    - name: main
      image: example.test/hello:1
      imagePullPolicy: Never
      command: [/bin/sh, -c, "echo hello from systemd; trap 'exit 0' TERM; sleep 1000000 & wait"]
      ports: [{containerPort: 8080, hostPort: 8077}]
      resources: {limits: {memory: 64Mi}}
`;

/** What an operator brings: an image in an archive, and a pod of it. */
export function writeInput(): void {
  mkdirSync(directory, { recursive: true });
  const image = imageOf([busyboxLayer()], { Env: ["PATH=/bin"] });
  const annotations = { "org.opencontainers.image.ref.name": "example.test/hello:1" };
  writeFileSync(archive, tarOf(ociLayout([image], [{ blob: image.manifest, annotations }])));
  writeFileSync(manifest, pod);
}

/** Exit code and output of a command of the node's shell, without the programs of the checkout. */
export function run(command: string): { readonly code: number | null; readonly text: string } {
  const env = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    LC_ALL: "C.UTF-8",
    DEBIAN_FRONTEND: "noninteractive",
  };
  const { status, stdout, stderr } = spawnSync("/bin/sh", ["-c", command], {
    env,
    cwd: "/",
    encoding: "utf8",
  });
  return { code: status, text: `${stdout}${stderr}` };
}

/** As run(), for a command that must succeed; returns what it printed. */
export function must(command: string): string {
  const { code, text } = run(command);
  assert.equal(code, 0, `${command}\n${text}`);
  return text;
}

/** Files, units, cgroups, devices and rules of the node. */
export function everything(): readonly string[] {
  const others = [
    ...["/proc", "/sys", "/dev", "/tmp", "/host", "/opt/davit", directory],
    // What systemd, dpkg and the kernel's programs write whether there is davit or not.
    ...["/var/log", "/var/lib/systemd/random-seed", "/run/systemd", "/run/udev", "/run/log"],
    ...["/run/dbus", "/run/mount", "/run/lock", "/run/xtables.lock", "/run/utmp"],
    "/run/davit-vm-report.json",
  ];
  const prune = [...others, "'/var/tmp/systemd-private-*'", "'/var/lib/dpkg/*-old'"]
    .map((name) => `-path ${name} -prune`)
    .join(" -o ");
  const text = must(`
    find / \\( ${prune} \\) -o -printf '%p %y %l\\n' | sort
    cat /var/lib/systemd/deb-systemd-helper-*/* 2>/dev/null || true
    systemctl list-unit-files --no-legend --plain | cut -d ' ' -f 1
    systemctl list-units --all --no-legend --plain 'cri-containerd-*' 'davit*.slice' 'davit.service'
    find /sys/fs/cgroup -name '*davit.*' -o -name '*cri-containerd*' -o -name 'davit-*.slice'
    ip -o link | cut -d : -f 2
    for tables in iptables ip6tables; do $tables -w -t nat -S; $tables -w -t filter -S; done`);
  return text.split("\n");
}
