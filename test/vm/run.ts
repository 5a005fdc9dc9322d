/**
 * davit in virtual machines: `node test/vm/run.ts [MACHINE...] [--all] [--tests WORD,WORD...] [--record]`.
 *
 * The guest's root is the host's, read-only below a tmpfs. As many guests as there are processors run side by side.
 * Most need no KVM and no emulation: they are user-mode Linux. The last line is `N passed, N failed, N skipped`. See
 * CONTRIBUTING.md.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { findDebianPackage, findSystem, type Journal, makeDisk, makeSystemDisk } from "./disks.ts";
import { divide } from "./division.ts";
import { writeInitramfs } from "./initramfs.ts";
import {
  findKernel,
  findLegacyKernel,
  findUserModeKernel,
  hasApparmor,
  type Kernel,
} from "./kernel.ts";
import { killMachines, type MachineEnd, runMachine } from "./machine.ts";
import { runningHere } from "./probe.ts";
import { writeTable } from "./report.ts";
import { type Column, keepResults, readVerdicts, type Result, resultsIn } from "./results.ts";
import { runsOf } from "../support/variants.ts";
import { momentCount } from "./guest/power-cut-moments.ts";
import { findPolicy } from "./selinux.ts";
import { allFiles, filesByDefault, isOneOf, needsQemu, withSystemd } from "./suites.ts";

/** A machine: its job, options and number of boots. */
interface Machine {
  readonly name: string;
  /** The guest's script, `guest/<job>.sh`; its name by default. */
  readonly job?: string;
  readonly what: string;
  readonly minutes: number;
  /** The column of docs/vm-results.md. */
  readonly column: Column;
  /** The kernel that it boots; the newest of Debian 13 in qemu by default. That of Debian 12 has all of cgroup v1. */
  readonly kernel?: "user-mode" | "debian-12";
  /** The version of cgroups; v2 by default. */
  readonly cgroups?: "v1";
  /** Boots with an empty disk that the boots share; 1 and none if not given. */
  readonly bootsWithDisk?: number;
  /** How the disk's ext4 orders data and names; "ordered", as ext4 does by default, if not given. */
  readonly journal?: Journal;
  /** True for a Debian system on that disk, which is the root, with the package of davit. */
  readonly hasOwnSystem?: boolean;
  readonly words?: readonly string[];
  /** True for a machine that runs only if it is named. */
  readonly isOptional?: boolean;
  /** True for as many guests as there are processors, with a part of the files each. */
  readonly isDivided?: boolean;
  /** The test files of test/run.ts that it runs. */
  readonly files?: (chosen: readonly string[]) => readonly string[];
}

/** One machine that boots: one of several if it divides its files. */
interface Guest {
  readonly machine: Machine;
  readonly name: string;
  readonly kernel: Kernel;
  readonly tests: readonly string[];
  /** Makes its disk, if that is not an empty one. */
  readonly makeDisk?: typeof makeDisk;
}

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

/** A node as it is installed. Its terminal is that of the job. */
const nodeWords = [
  "davit.init=/lib/systemd/systemd",
  ...["davit.root=disk", "systemd.show_status=error"],
  ...["systemd.mask=getty.target", "systemd.mask=ldconfig.service"],
];

const machines: readonly Machine[] = [
  {
    name: "controllers",
    job: "suites",
    what: "cgroup v2, cgroupfs driver: tests that need CPU sets, pressure or huge pages",
    minutes: 60,
    column: "cgroupfs",
    // Some tests limit the I/O of a disk.
    bootsWithDisk: 1,
    files: (chosen) => chosen.filter((file) => isOneOf(needsQemu, file)),
  },
  {
    name: "systemd",
    what: "systemd as init: davit as the unit that is shipped, AppArmor, tests with systemd's cgroups",
    minutes: 60,
    column: "systemd",
    kernel: "user-mode",
    words: [...systemdWords, "apparmor=1", "security=apparmor", "davit.files=systemd,apparmor"],
    files: (chosen) => chosen.filter((file) => isOneOf(withSystemd, file)),
  },
  {
    name: "packages",
    what: "the Debian package on a Debian with systemd: install, reload, upgrade, reboot, purge",
    minutes: 30,
    column: "systemd",
    kernel: "user-mode",
    bootsWithDisk: 2,
    hasOwnSystem: true,
    words: nodeWords,
  },
  {
    name: "systemd-driver",
    job: "systemd",
    what: "cgroups by systemd, with CPU sets, pressure and huge pages: limits, updates, metrics",
    minutes: 60,
    column: "systemd",
    words: [...systemdWords, "davit.files=systemd-driver,systemd-metrics"],
  },
  {
    name: "selinux",
    what: "SELinux enforces Debian's policy: labels of pods, containers and mounts",
    minutes: 60,
    column: "selinux",
    kernel: "user-mode",
    bootsWithDisk: 1,
    words: ["security=selinux", `davit.policy=${cache}/selinux/policy`],
  },
  {
    name: "suites",
    what: "cgroup v2, cgroupfs driver: kernel and integration tests in user-mode Linux",
    minutes: 240,
    column: "cgroupfs",
    kernel: "user-mode",
    isDivided: true,
    files: (chosen) => chosen.filter((file) => !isOneOf(needsQemu, file)),
  },
  {
    name: "reboot",
    what: "a machine that is reset under its pods, and boots again",
    minutes: 20,
    column: "cgroupfs",
    bootsWithDisk: 2,
  },
  ...(["ordered", "writeback"] as const).map((mode): Machine => {
    return {
      name: mode === "ordered" ? "power-cut" : `power-cut-${mode}`,
      job: "power-cut",
      what: `a machine that loses power during each of davit's writes, on ext4 with data=${mode}`,
      minutes: 15,
      column: "cgroupfs",
      kernel: "user-mode",
      bootsWithDisk: momentCount + 1,
      journal: mode,
      isOptional: mode !== "ordered",
    };
  }),
  ...(["v1", "v2"] as const).map((version): Machine => {
    return {
      name: `compare-${version}`,
      job: "compare",
      what: `times of pods with cgroup ${version}`,
      minutes: 60,
      column: "cgroupfs",
      kernel: "debian-12",
      isOptional: true,
      ...(version === "v1" && { cgroups: version }),
    };
  }),
  {
    name: "systemd-v1",
    job: "systemd",
    what: "systemd as init with cgroup v1: metrics and stats of slices and scopes",
    minutes: 20,
    column: "systemd",
    kernel: "debian-12",
    cgroups: "v1",
    isOptional: true,
    words: [
      ...[...systemdWords, "davit.files=systemd-metrics"],
      ...["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"],
    ],
  },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tests: { type: "string" },
    all: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
  },
});
const out = path.join(import.meta.dirname, "out");
let userMode: Kernel | "none" | undefined;
const total = { passed: 0, failed: 0, skipped: 0 };

process.chdir(repo);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killMachines();
    process.exit(130);
  });
}
await main();

async function main(): Promise<void> {
  const chosen = machines.filter(({ name, isOptional = false }) =>
    positionals.length === 0 ? !isOptional : positionals.includes(name),
  );
  if (chosen.length === 0) {
    print(`there is no such machine; choose from: ${machines.map(({ name }) => name).join(" ")}`);
    process.exitCode = 2;
    return;
  }
  const why = prepare(chosen.some(({ name }) => name === "selinux"));
  if (why !== undefined) {
    print(`skipped: ${why}`);
    print(`\n0 passed, 0 failed, ${chosen.length} skipped`);
    return;
  }
  const queue = chosen.flatMap(guestsOf);
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await runGuest(next);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  if (values.record) writeTable();
  print(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 ? 1 : 0;
}

/** The reason that no machine can run; undefined if they can. */
function prepare(withSelinux: boolean): string | undefined {
  if (spawnSync("qemu-system-x86_64", ["--version"]).status !== 0) {
    return "qemu is missing: run scripts/setup.sh --vm";
  }
  mkdirSync(cache, { recursive: true });
  if (!hasApparmor(cache)) return "Debian's package apparmor cannot be had";
  if (withSelinux && findPolicy(cache) === undefined) {
    return "Debian's packages selinux-policy-default, policycoreutils and secilc cannot be had";
  }
  return undefined;
}

/** The kernel of a machine. Where there is no user-mode Linux, qemu runs its tests, and takes much longer. */
function kernelOf({ kernel }: Machine): Kernel | undefined {
  if (kernel === "debian-12") return findLegacyKernel(cache);
  return (kernel === "user-mode" ? userModeKernel() : undefined) ?? findKernel(cache);
}

/** User-mode Linux, if this processor can run it. */
function userModeKernel(): Kernel | undefined {
  if (userMode === undefined) {
    const found = findUserModeKernel(cache);
    userMode = (found && runningHere(found, cache)) ?? "none";
    if (found !== undefined && userMode === "none")
      print("user-mode Linux does not run here: qemu takes its place");
  }
  return userMode === "none" ? undefined : userMode;
}

/** The files that `--tests`, `--all` or neither chooses. */
function chosenFiles(): readonly string[] {
  const { tests, all } = values;
  if (tests !== undefined) {
    return allFiles().filter((file) => isOneOf(tests.split(","), file));
  }
  return all ? allFiles() : filesByDefault(readVerdicts());
}

function guestsOf(machine: Machine): readonly Guest[] {
  const { name, what, job = name, files, isDivided = false } = machine;
  const kernel = kernelOf(machine);
  if (kernel === undefined) {
    print(`${name}: skipped: Debian's kernel cannot be had: no apt-get, or no network`);
    total.skipped += 1;
    return [];
  }
  print(`${name}: ${what}`);
  if (machine.hasOwnSystem === true) {
    const [system, debianPackage] = [findSystem(cache), findDebianPackage(cache)];
    if (system !== undefined && debianPackage !== undefined) {
      const make = (file: string): void => makeSystemDisk(file, system, debianPackage);
      return [{ machine, name, kernel, tests: [], makeDisk: make }];
    }
    print(`${name}: skipped: mmdebstrap, a mirror or a tool of scripts/package.sh is missing`);
    total.skipped += 1;
    return [];
  }
  const tests = files?.(chosenFiles()) ?? [];
  if (job === "suites" && tests.length === 0) return [];
  // An emulator uses several processors, user-mode Linux one.
  const guests = isDivided && kernel.isUserMode ? availableParallelism() : 1;
  const lists = divide(tests, guests, readVerdicts());
  if (lists.length < 2) return [{ machine, name, kernel, tests }];
  return lists.map((part, index) => {
    return { machine, name: `${name}-${index + 1}`, kernel, tests: part };
  });
}

/**
 * Runs a guest. User-mode Linux can panic when a fork fails or a process has too many mappings: what had not run
 * yet then gets another boot, and the file that ran gets one of its own. At the second time it has failed.
 */
async function runGuest(guest: Guest): Promise<void> {
  const { machine, name, kernel } = guest;
  const begin = Date.now();
  const boots = [guest.tests];
  const suspects = new Set<string>();
  for (let tests = boots.shift(); tests !== undefined; tests = boots.shift()) {
    const { results, ends } = await runBoots({ ...guest, tests });
    if (values.record) {
      keepResults(results, machine.column, kernel.isUserMode ? "user-mode" : "qemu");
    }
    add(results);
    const [end] = ends;
    const hasPanicked =
      kernel.isUserMode && end?.code === undefined && end?.timedOut === false && !end.reset;
    const [suspect, ...rest] = hasPanicked ? unfinished(tests, results) : [];
    if (suspect === undefined || suspects.has(suspect)) {
      judge(name, ends, results);
      continue;
    }
    print(`${name}: the kernel panicked while ${suspect} ran; it boots again`);
    suspects.add(suspect);
    boots.push(...[rest, [suspect]].filter((list) => list.length > 0));
  }
  print(`${name}: ${((Date.now() - begin) / 60_000).toFixed(1)} minutes`);
}

/** The files that have not run with all of their variants, in the order of test/run.ts. */
function unfinished(
  tests: readonly string[],
  results: ReadonlyMap<string, unknown>,
): readonly string[] {
  const isKernel = (file: string): boolean => file.endsWith(".kernel.test.ts");
  return tests
    .filter((file) => !runsOf(file).every((run) => results.has(run.name)))
    .sort((a, b) => Number(isKernel(b)) - Number(isKernel(a)) || (a < b ? -1 : 1));
}

/** Boots a machine, as often as it has to be, and returns how each boot ended, and all results. */
async function runBoots(
  guest: Guest,
): Promise<{ ends: readonly MachineEnd[]; results: ReadonlyMap<string, Result> }> {
  const { machine, name, kernel, tests } = guest;
  const { job = machine.name, bootsWithDisk, words = [] } = machine;
  const at = (file: string): string => path.join(out, name, file);
  rmSync(path.join(out, name), { recursive: true, force: true });
  mkdirSync(path.join(out, name), { recursive: true });
  // The kernel's command line has no room for them.
  writeFileSync(at("tests"), tests.map((file) => `${file}\n`).join(""));
  const initramfs = at("initramfs.cpio");
  writeInitramfs(initramfs, kernel);
  const disk = bootsWithDisk === undefined ? undefined : at("disk.img");
  const ends: MachineEnd[] = [];
  try {
    if (disk !== undefined) (guest.makeDisk ?? makeDisk)(disk, machine.journal);
    for (let boot = 1; boot <= (bootsWithDisk ?? 1); boot++) {
      const end = await runMachine({
        kernel,
        initramfs,
        consoleLog: at(`console-${boot}.log`),
        outputLog: at(`output-${boot}.log`),
        words: [
          ...[`davit.repo=${repo}`, `davit.job=${job}`, `davit.tests=${at("tests")}`],
          `davit.boot=${boot}`,
          ...[...(machine.cgroups === "v1" ? [] : ["cgroup_no_v1=all"]), ...words],
        ],
        ...(disk === undefined ? {} : { disk }),
        timeoutMs: machine.minutes * 60_000,
        onOutput: (part) => process.stdout.write(part),
      });
      ends.push(end);
    }
  } finally {
    for (const file of [initramfs, disk]) if (file !== undefined) rmSync(file, { force: true });
  }
  return { ends, results: resultsIn(ends.map(({ output }) => output).join("\n")) };
}

function add(results: ReadonlyMap<string, Result>): void {
  for (const { passed, failed, skipped } of results.values()) {
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
  }
}

/** A machine that ended without word, or with a failure that no file told, has failed. */
function judge(
  name: string,
  ends: readonly MachineEnd[],
  results: ReadonlyMap<string, Result>,
): void {
  const isTold = [...results.values()].some(({ failed }) => failed > 0);
  for (const { code, timedOut, reset } of ends) {
    if (!timedOut && (reset || code === 0 || (code !== undefined && isTold))) continue;
    const how = timedOut ? "was killed at its deadline" : `ended with ${code ?? "no word"}`;
    print(`FAILED  ${name}: the machine ${how}; see ${path.relative(repo, path.join(out, name))}`);
    total.failed += 1;
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
