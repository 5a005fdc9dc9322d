/** A disk that hangs, for processes that not even SIGKILL ends. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

/** Why a test with a disk that hangs is skipped on this machine; undefined if it can run. */
export const noStuckDisk = existsSync("/dev/fuse") ? undefined : "this machine has no /dev/fuse";

/** A mounted file system. A process that looks up the file `hang` in it waits until `release`. */
export class StuckDisk implements AsyncDisposable {
  readonly directory: string;
  readonly #server: ChildProcess;
  readonly #exited: Promise<void>;
  #hanging = 0;

  private constructor(directory: string, server: ChildProcess) {
    this.directory = directory;
    this.#server = server;
    this.#exited = new Promise((resolve) => {
      server.once("exit", () => {
        resolve();
      });
    });
  }

  /** Mounts it in the mount namespace of the test. */
  static async mount(): Promise<StuckDisk> {
    const directory = mkdtempSync(path.join(tmpdir(), "davit-stuck-"));
    const program = path.join(import.meta.dirname, "stuck-disk-server.ts");
    const server = spawn(process.execPath, [program, directory], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    const disk = new StuckDisk(directory, server);
    const { promise: ready, resolve } = Promise.withResolvers<undefined>();
    createInterface({ input: server.stdout }).on("line", (line) => {
      if (line === "ready") resolve(undefined);
      if (line === "hanging") disk.#hanging += 1;
    });
    const failed = disk.#exited.then(() => Promise.reject(new Error("mount a disk that hangs")));
    failed.catch(() => undefined);
    await Promise.race([ready, failed]);
    return disk;
  }

  /** How many processes have begun to wait for it. */
  get hanging(): number {
    return this.#hanging;
  }

  /** Fails all waiting lookups, so that their processes continue. */
  async release(): Promise<void> {
    this.#server.kill("SIGKILL");
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
    spawnSync("umount", ["--lazy", this.directory]);
    rmSync(this.directory, { recursive: true });
  }
}
