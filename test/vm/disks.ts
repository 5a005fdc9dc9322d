/** Disks of the virtual machines: an empty file system, or a Debian system with a package of davit beside it. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** What a node has before davit: systemd, and what the package depends on and recommends. */
const nodePackages = [
  ...["systemd-sysv", "dbus", "busybox-static", "iproute2", "kmod", "procps"],
  ...["crun", "conmon", "containernetworking-plugins", "iptables", "libisal2", "libstdc++6"],
];

/** How an ext4 orders data and names (ext4(5)). */
export type Journal = "ordered" | "writeback";

/**
 * Makes an ext4 of 1 GiB in the file. With "writeback" a power cut shows all that this mode allows: ext4 allocates blocks when a
 * file is written and not when its data goes to the disk (nodelalloc), and a free block is full of random bytes. So a file
 * that was not synced has its name, its size, and bytes that nobody wrote to it.
 */
export function makeDisk(file: string, journal: Journal = "ordered"): void {
  writeFileSync(file, "");
  if (journal === "writeback") {
    const bytes = randomBytes(2 ** 20);
    for (let written = 0; written < 2 ** 30; written += bytes.length) appendFileSync(file, bytes);
  }
  truncateSync(file, 2 ** 30);
  // By default mkfs makes the file sparse.
  execFileSync("mkfs.ext4", ["-q", "-F", "-E", "nodiscard", file]);
  const options = journal === "writeback" ? ["-E", "mount_opts=nodelalloc"] : [];
  execFileSync("tune2fs", ["-o", `journal_data_${journal}`, ...options, file], { stdio: "ignore" });
}

/**
 * Makes an ext4 of 2 GiB with the system of the archive, and the package as `/var/tmp/davit-vm/davit.deb`. The host's root appears
 * in the guest as `/host`, and the checkout as `/opt/davit`.
 */
export function makeSystemDisk(file: string, system: string, debianPackage: string): void {
  const root = mkdtempSync(path.join(tmpdir(), "davit-vm-root-"));
  try {
    // The devices are those of the guest's devtmpfs.
    execFileSync("tar", ["-xf", system, "--exclude=./dev/*", "-C", root]);
    for (const name of ["host", "opt/davit", "var/tmp/davit-vm"]) {
      mkdirSync(path.join(root, name), { recursive: true });
    }
    // Without an id, systemd treats the boot as the first one of the machine, and presets all units.
    writeFileSync(path.join(root, "etc/machine-id"), `${randomBytes(16).toString("hex")}\n`);
    copyFileSync(debianPackage, path.join(root, "var/tmp/davit-vm/davit.deb"));
    writeFileSync(file, "");
    truncateSync(file, 2 ** 31);
    execFileSync("mkfs.ext4", ["-q", "-F", "-d", root, file]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** The archive of a Debian system with systemd; undefined without mmdebstrap or a mirror. Kept in `cache`. */
export function findSystem(cache: string): string | undefined {
  const file = path.join(cache, "node-trixie.tar");
  if (existsSync(file)) return file;
  const args = ["--quiet", "--variant=minbase", "--format=tar"];
  try {
    const list = `--include=${nodePackages.join(",")}`;
    execFileSync("mmdebstrap", [...args, list, "trixie", `${file}.new`], { stdio: "inherit" });
    renameSync(`${file}.new`, file);
    return file;
  } catch {
    rmSync(`${file}.new`, { force: true });
    return undefined;
  }
}

/** Builds the Debian package of this checkout, or takes that of DAVIT_TEST_PACKAGES; undefined if it cannot be built. */
export function findDebianPackage(cache: string): string | undefined {
  let directory = process.env["DAVIT_TEST_PACKAGES"];
  if (directory === undefined) {
    directory = path.join(cache, "packages");
    try {
      const args = ["scripts/package.sh", "--arch", "x64", directory];
      execFileSync("sh", args, { stdio: ["ignore", "ignore", "inherit"] });
    } catch {
      return undefined;
    }
  }
  const name = readdirSync(directory).find((entry) => /^davit_.*_amd64\.deb$/.test(entry));
  return name === undefined ? undefined : path.join(directory, name);
}
