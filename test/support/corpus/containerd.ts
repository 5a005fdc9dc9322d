/** Debian's containerd, to compare what it unpacks. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { patient } from "../patience.ts";
import { until } from "../suites/pods.ts";

const run = promisify(execFile);

/** containerd with its files below one directory, and without plugins that unpack nothing. */
export class Containerd implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #socket: string;
  readonly #mounts: string[] = [];
  readonly #log: string;

  private constructor(child: ChildProcess, socket: string, log: string) {
    this.#process = child;
    this.#socket = socket;
    this.#log = log;
  }

  static async start(directory: string): Promise<Containerd> {
    mkdirSync(directory, { recursive: true });
    const socket = path.join(directory, "c.sock");
    const config = path.join(directory, "config.toml");
    const log = path.join(directory, "log");
    writeFileSync(config, configuration(directory, socket));
    const out = openSync(log, "w");
    const child = spawn("containerd", ["--config", config], { stdio: ["ignore", out, out] });
    const containerd = new Containerd(child, socket, log);
    try {
      await until("containerd answers", () => containerd.#answers());
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw new Error(`start containerd: ${readFileSync(log, "utf8").slice(-1000)}`, {
        cause: error,
      });
    }
  }

  /** Pulls an image over HTTP; the error has containerd's words. */
  async pull(image: string): Promise<void> {
    await this.#ctr("images", "pull", "--plain-http", "--snapshotter", "overlayfs", image);
  }

  /** Mounts an image, read-only, until the end. */
  async mount(image: string, target: string): Promise<void> {
    mkdirSync(target, { recursive: true });
    await this.#ctr("images", "mount", "--snapshotter", "overlayfs", image, target);
    this.#mounts.push(target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const target of this.#mounts) await run("umount", [target]);
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await exited;
  }

  async #answers(): Promise<boolean> {
    if (this.#process.exitCode !== null) throw new Error(`containerd ended: ${this.#log}`);
    return await this.#ctr("version").then(
      () => true,
      () => false,
    );
  }

  async #ctr(...args: readonly string[]): Promise<void> {
    try {
      await run("ctr", ["--address", this.#socket, ...args], { timeout: patient(30_000) });
    } catch (error) {
      // Its output is a screen of progress bars.
      const { stderr = "" } = error as { readonly stderr?: string };
      throw new Error(`ctr ${args.join(" ")}: ${stderr.trim().split("\n").at(-1)}`, {
        cause: stderr,
      });
    }
  }
}

function configuration(directory: string, socket: string): string {
  const text = (name: string): string => JSON.stringify(path.join(directory, name));
  const without = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.restart",
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",
    "io.containerd.monitor.v1.cgroups",
    ...["btrfs", "devmapper", "zfs", "blockfile", "native"].map(
      (name) => `io.containerd.snapshotter.v1.${name}`,
    ),
  ];
  return `
version = 2
root = ${text("root")}
state = ${text("state")}
disabled_plugins = ${JSON.stringify(without)}
[grpc]
  address = ${JSON.stringify(socket)}
`;
}
