/**
 * davit in virtual machines: `node test/vm/run.ts [MACHINE...] [--tests WORD,WORD...]`.
 *
 * qemu emulates the processor, so the host needs no KVM. The guest's root is the host's, read-only below a tmpfs.
 * The last line is `N passed, N failed, N skipped`. See CONTRIBUTING.md.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { writeInitramfs } from "./initramfs.ts";
import { findKernel, findLegacyKernel, hasApparmor, type Kernel } from "./kernel.ts";
import { killMachines, type MachineEnd, runMachine } from "./machine.ts";
import { findPolicy } from "./selinux.ts";

/** A machine: its job, options and number of boots. */
interface Machine {
  /** The guest's script, `guest/<job>.sh`. */
  readonly job: string;
  readonly what: string;
  readonly minutes: number;
  /** Boots with an empty disk that the boots share; 1 and none if not given. */
  readonly bootsWithDisk?: number;
  readonly words?: readonly string[];
  /** Boots the kernel of Debian 12 with cgroup v1, as systemd mounts it. */
  readonly isLegacy?: boolean;
}

/** The tests of the machine "suites": arguments of test/run.ts. */
const suites = [
  ...["kernel", "integration"],
  ...["linux/cgroup", "drivers/stats", "drivers/oci"],
  ...["sandbox-cgroup", "container-stats", "container.test", "container-process", "container-exec"],
  ...["container-stop", "container-status", "container-restart", "container-pod", "stop-container"],
  ...["attacks/r01", "attacks/r02", "attacks/v01"],
];

const repo = path.resolve(import.meta.dirname, "../..");
/** Debian's packages, unpacked. */
const cache = path.join(repo, "node_modules/.cache/davit-vm");

/** systemd as init starts what the tests need. */
const systemdWords = [
  "davit.init=/lib/systemd/systemd",
  "systemd.unit=davit-vm.target",
  "fstab=no",
  "systemd.show_status=error",
  // It scans all libraries if /usr is newer than a file that nothing here writes.
  "systemd.mask=ldconfig.service",
];

const machines: readonly Machine[] = [
  {
    job: "suites",
    what: "cgroup v2, cgroupfs driver: kernel and integration tests",
    minutes: 60,
    // Some tests limit the I/O of a disk.
    bootsWithDisk: 1,
  },
  {
    job: "reboot",
    what: "a machine that is reset under its pods, and boots again",
    minutes: 10,
    bootsWithDisk: 2,
  },
  {
    job: "systemd",
    what: "systemd as init: davit as the unit that is shipped, cgroups by systemd, AppArmor",
    minutes: 40,
    words: [...systemdWords, "apparmor=1", "security=apparmor"],
  },
  {
    job: "systemd-v1",
    what: "systemd as init with cgroup v1: metrics and stats of slices and scopes",
    minutes: 20,
    isLegacy: true,
    words: [
      ...systemdWords,
      ...["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"],
    ],
  },
  {
    job: "selinux",
    what: "SELinux enforces Debian's policy: labels of pods, containers and mounts",
    minutes: 40,
    bootsWithDisk: 1,
    words: ["security=selinux", `davit.policy=${cache}/selinux/policy`],
  },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { tests: { type: "string", default: suites.join(",") } },
});
const out = path.join(import.meta.dirname, "out");
const total = { passed: 0, failed: 0, skipped: 0 };

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killMachines();
    process.exit(130);
  });
}
await main();

async function main(): Promise<void> {
  const chosen = machines.filter(
    ({ job }) => positionals.length === 0 || positionals.includes(job),
  );
  if (chosen.length === 0) {
    print(`there is no such machine; choose from: ${machines.map(({ job }) => job).join(" ")}`);
    process.exitCode = 2;
    return;
  }
  const kernel = prepare(chosen.some(({ job }) => job === "selinux"));
  if (typeof kernel === "string") {
    print(`skipped: ${kernel}`);
    print(`\n0 passed, 0 failed, ${chosen.length} skipped`);
    return;
  }
  for (const machine of chosen) await runBoots(machine, kernel);
  print(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

/** The kernel to boot, or the reason that no machine can run. */
function prepare(withSelinux: boolean): Kernel | string {
  if (spawnSync("qemu-system-x86_64", ["--version"]).status !== 0) {
    return "qemu is missing: run scripts/setup.sh --vm";
  }
  mkdirSync(cache, { recursive: true });
  const kernel = findKernel(cache);
  if (!hasApparmor(cache)) return "Debian's package apparmor cannot be had";
  if (withSelinux && findPolicy(cache) === undefined) {
    return "Debian's packages selinux-policy-default, policycoreutils and secilc cannot be had";
  }
  return kernel ?? "Debian's package linux-image-amd64 cannot be had: no apt-get, or no network";
}

async function runBoots(machine: Machine, newest: Kernel): Promise<void> {
  const { job, what, bootsWithDisk, isLegacy = false, words = [] } = machine;
  print(`\n${job}: ${what}`);
  const kernel = isLegacy ? findLegacyKernel(cache) : newest;
  if (kernel === undefined) {
    print("skipped: the kernel of Debian 12 cannot be had");
    total.skipped += 1;
    return;
  }
  rmSync(path.join(out, job), { recursive: true, force: true });
  mkdirSync(path.join(out, job), { recursive: true });
  const at = (name: string): string => path.join(out, job, name);
  const initramfs = at("initramfs.cpio");
  writeInitramfs(initramfs, kernel);
  const disk = bootsWithDisk === undefined ? undefined : makeDisk(at("disk.img"));
  try {
    for (let boot = 1; boot <= (bootsWithDisk ?? 1); boot++) {
      const end = await runMachine({
        kernel,
        initramfs,
        consoleLog: at(`console-${boot}.log`),
        outputLog: at(`output-${boot}.log`),
        words: [
          ...[`davit.repo=${repo}`, `davit.job=${job}`, `davit.tests=${values.tests}`],
          ...[...(isLegacy ? [] : ["cgroup_no_v1=all"]), ...words],
        ],
        ...(disk === undefined ? {} : { disk }),
        timeoutMs: machine.minutes * 60_000,
        onOutput: (part) => process.stdout.write(part),
      });
      judge(job, end);
    }
  } finally {
    for (const file of [initramfs, disk]) if (file !== undefined) rmSync(file, { force: true });
  }
}

/** An ext4 of 1 GiB in a sparse file. */
function makeDisk(file: string): string {
  writeFileSync(file, "");
  truncateSync(file, 2 ** 30);
  execFileSync("mkfs.ext4", ["-q", "-F", file]);
  return file;
}

/** Adds the counts that the job printed. A machine without counts has failed. */
function judge(job: string, { code, timedOut, output }: MachineEnd): void {
  const lines = output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm);
  let failed = 0;
  let told = false;
  for (const [, passes, failures, skips] of lines) {
    told = true;
    total.passed += Number(passes);
    failed += Number(failures);
    total.skipped += Number(skips);
  }
  const wasReset = /^davit-vm: reset$/m.test(output);
  if (failed === 0 && (!told || timedOut || (code !== 0 && !wasReset))) {
    const how = timedOut ? "was killed at its deadline" : `ended with ${code ?? "no word"}`;
    print(`FAILED  ${job}: the machine ${how}; see ${path.relative(repo, path.join(out, job))}`);
    failed = 1;
  }
  total.failed += failed;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
