/**
 * A Debian system without davit, made by mmdebstrap (scripts/test-packages.sh), as the root of a mount namespace of its
 * own: OCI runtimes change the root, which the kernel refuses in a chroot. The other namespaces are those of the test
 * file.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** The archive that scripts/test-packages.sh makes. */
export const rootArchive = process.env["DAVIT_TEST_ROOT"] ?? "";

/** What a command in the root printed, and its exit code. */
export interface Ran {
  readonly code: number | null;
  readonly text: string;
}

const enter = `
mount --bind "$1" "$1"
cd "$1"
mount --rbind /proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 davit-test-run run
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
rmdir /run/old
echo ready
exec sleep infinity
`;

export class CleanRoot implements AsyncDisposable {
  /** The root as a directory of the host. */
  readonly directory: string;
  readonly #init: ChildProcess;

  private constructor(directory: string, init: ChildProcess) {
    this.directory = directory;
    this.#init = init;
  }

  /** Unpacks the archive and enters the root. */
  static async open(): Promise<CleanRoot> {
    const directory = mkdtempSync(path.join(tmpdir(), "root-"));
    // A device node cannot be made everywhere, and /dev is that of the host.
    execFileSync("tar", ["-xf", rootArchive, "--exclude=./dev/*", "-C", directory]);
    for (const name of ["proc", "sys", "dev", "run"]) {
      mkdirSync(path.join(directory, name), { recursive: true });
    }
    const args = ["--mount", "--propagation=private", "sh", "-ec", enter, "sh", directory];
    const init = spawn("unshare", args, { stdio: ["ignore", "pipe", "inherit"] });
    await once(init.stdout, "data");
    return new CleanRoot(directory, init);
  }

  /** Runs a shell command to its end. */
  run(command: string): Ran {
    const { file, args, options } = this.#entering(command);
    const { status, stdout, stderr } = spawnSync(file, args, {
      ...options,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    return { code: status, text: `${stdout}${stderr}` };
  }

  /** Runs a shell command that must succeed, and returns what it printed. */
  must(command: string): string {
    const { code, text } = this.run(command);
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${text}`);
    return text;
  }

  /** Starts a command that runs until it is killed. Its output is that of the test. */
  start(command: string): ChildProcess {
    const { file, args, options } = this.#entering(`exec ${command}`);
    return spawn(file, args, { ...options, stdio: ["ignore", "ignore", "pipe"] });
  }

  /** Names, types, sizes and targets of all files, without directories that belong to the kernel or to dpkg. */
  files(): readonly string[] {
    const skipped = [
      "proc",
      "sys",
      "dev",
      "run",
      "tmp",
      "var/lib/dpkg",
      "var/log",
      "var/lib/systemd",
    ];
    const prune = skipped.map((name) => `-path ./${name} -prune`).join(" -o ");
    const text = this.must(`cd / && find . \\( ${prune} \\) -o -printf '%p %y %s %l\\n'`);
    // A directory's size depends on its file system, and on the names that it once had.
    return text
      .split("\n")
      .map((line) => line.replace(/ d \d+ $/, " d"))
      .sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#init.kill("SIGKILL");
    if (this.#init.exitCode === null && this.#init.signalCode === null) {
      await once(this.#init, "exit");
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  #entering(command: string): {
    readonly file: string;
    readonly args: readonly string[];
    readonly options: { readonly env: NodeJS.ProcessEnv };
  } {
    const pid = String(this.#init.pid);
    const env = {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      LC_ALL: "C.UTF-8",
      DEBIAN_FRONTEND: "noninteractive",
      DAVIT_TEST_RUN: process.env["DAVIT_TEST_RUN"],
    };
    const args = ["--target", pid, "--mount", "--root", "--wd", "sh", "-c", command];
    return { file: "/usr/bin/nsenter", args, options: { env } };
  }
}

/** A reason to skip the tests of packages; false when there is none. */
export function withoutRoot(): string | false {
  if (rootArchive === "" || !existsSync(rootArchive)) {
    return "no root of Debian: npm run test:packages makes it, with mmdebstrap and a mirror";
  }
  return false;
}
