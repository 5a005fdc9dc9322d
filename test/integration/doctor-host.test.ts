/** `davit doctor` on the real machine: disks, mounts, capabilities and programs, in namespaces of the test. */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import {
  daemon,
  davit,
  command,
  doctor,
  doctorAfter,
  assertFinds,
  configure,
  repo,
  outcomeOf,
  prepareDaemons,
  type Outcome,
} from "../support/suites/doctor.ts";

prepareDaemons();

describe("davit doctor on plugins of the node", () => {
  test("names the files that davit would not start, without a daemon", async () => {
    const directory = path.join(daemon.paths.directory, "nri-plugins");
    mkdirSync(directory);
    const nri = { plugin_path: directory, enable: true };
    configure({ nri });
    assert.deepEqual((await doctor("nri")).ids, ["nri.fine"]);
    for (const [name, mode] of [
      ["10-good", 0o755],
      ["20-open", 0o777],
      ["topology", 0o755],
    ] as const) {
      writeFileSync(path.join(directory, name), "#!/bin/sh\n");
      chmodSync(path.join(directory, name), mode);
    }
    const { findings, code } = await doctor("nri");
    assert.equal(code, 0, "a warning does not fail the command");
    assert.deepEqual(
      findings.map(({ id }) => id),
      ["nri.file-refused", "nri.file-refused"],
    );
    assert.match(findings[0]?.found ?? "", /20-open.*\(mode 777\): chmod go-w it/);
    assert.match(findings[1]?.found ?? "", /"topology".*"NN-name"/);
    configure({ nri: { ...nri, enable: false } });
    assert.deepEqual((await doctor("nri")).ids, ["nri.fine"]);
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
          monitor: "conmon",
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

  test("finds a missing addon and a missing davit-monitor", async () => {
    const alone = path.join(daemon.paths.directory, "davit.cjs");
    copyFileSync(path.join(repo, "dist/davit.cjs"), alone);
    const outcome = await outcomeOf(process.execPath, [alone, ...command("programs")]);
    assertFinds(outcome, "programs.addon-broken", "programs.monitor-broken");
    assert.equal(outcome.code, 1);
  });
});
