/** A private containerd of Debian's: its process, with all of its files below one directory. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { until } from "./suites/pods.ts";

/** Plugins that no test uses, some of which need what a machine may lack. */
export const unusedPlugins: readonly string[] = [
  "io.containerd.internal.v1.restart",
  ...["btrfs", "devmapper", "zfs", "blockfile", "native"].map(
    (name) => `io.containerd.snapshotter.v1.${name}`,
  ),
];

/** The socket in the directory of a containerd. */
export function socketIn(directory: string): string {
  return path.join(directory, "c.sock");
}

/** A running containerd. */
export class ContainerdProcess {
  readonly #child: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
  }

  /** Starts it, and waits until `answers` is true. The error of a start has the end of the log. */
  static async start(
    directory: string,
    configuration: string,
    answers: () => Promise<boolean>,
  ): Promise<ContainerdProcess> {
    mkdirSync(directory, { recursive: true });
    const config = path.join(directory, "config.toml");
    writeFileSync(config, configuration);
    const out = openSync(path.join(directory, "log"), "w");
    const child = spawn("containerd", ["--config", config], { stdio: ["ignore", out, out] });
    const containerd = new ContainerdProcess(child, directory);
    try {
      await until(
        "containerd answers",
        () => {
          if (child.exitCode !== null) throw new Error("containerd ended");
          return answers();
        },
        30_000,
      );
      return containerd;
    } catch (error) {
      await containerd.end("SIGKILL");
      throw new Error(`start containerd: ${containerd.log().slice(-2000)}`, { cause: error });
    }
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(path.join(this.#directory, "log"), "utf8");
  }

  /** Ends it. Idempotent. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill(signal);
    await exited;
  }
}
