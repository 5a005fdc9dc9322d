/** Debian's containerd, to compare what it unpacks. */
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ContainerdProcess, socketIn, unusedPlugins } from "../containerd-process.ts";
import { patient } from "../patience.ts";

const run = promisify(execFile);

/** containerd with its files below one directory, and without plugins that unpack nothing. */
export class Containerd implements AsyncDisposable {
  readonly #process: ContainerdProcess;
  readonly #socket: string;
  readonly #mounts: string[] = [];

  private constructor(running: ContainerdProcess, socket: string) {
    this.#process = running;
    this.#socket = socket;
  }

  static async start(directory: string): Promise<Containerd> {
    const socket = socketIn(directory);
    const answers = (): Promise<boolean> =>
      ctr(socket, "version").then(
        () => true,
        () => false,
      );
    const config = configuration(directory, socket);
    return new Containerd(await ContainerdProcess.start(directory, config, answers), socket);
  }

  /** Pulls an image over HTTP; the error has containerd's words. */
  async pull(image: string): Promise<void> {
    await ctr(this.#socket, "images", "pull", "--plain-http", "--snapshotter", "overlayfs", image);
  }

  /** Mounts an image, read-only, until the end. */
  async mount(image: string, target: string): Promise<void> {
    mkdirSync(target, { recursive: true });
    await ctr(this.#socket, "images", "mount", "--snapshotter", "overlayfs", image, target);
    this.#mounts.push(target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const target of this.#mounts) await run("umount", [target]);
    await this.#process.end("SIGKILL");
  }
}

async function ctr(socket: string, ...args: readonly string[]): Promise<void> {
  try {
    await run("ctr", ["--address", socket, ...args], { timeout: patient(30_000) });
  } catch (error) {
    // Its output is a screen of progress bars.
    const { stderr = "" } = error as { readonly stderr?: string };
    throw new Error(`ctr ${args.join(" ")}: ${stderr.trim().split("\n").at(-1)}`, {
      cause: stderr,
    });
  }
}

function configuration(directory: string, socket: string): string {
  const text = (name: string): string => JSON.stringify(path.join(directory, name));
  const without = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",
    "io.containerd.monitor.v1.cgroups",
    ...unusedPlugins,
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
