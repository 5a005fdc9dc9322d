/** Debian's containerd with its CRI and NRI, all of its files below one directory. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { CriClient } from "../../src/client/cri-client.ts";
import { ociLayout, tarOf } from "./archives.ts";
import type { TestImage } from "./images.ts";
import { patient } from "./patience.ts";
import { until } from "./suites/pods.ts";

const run = promisify(execFile);

/** Why no containerd can run here; undefined where it can. */
export const noContainerd = ["/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/crun"].find(
  (program) => !existsSync(program),
);

/** containerd, whose pods are on the host's network and whose containers run by crun. */
export class CriContainerd implements AsyncDisposable {
  readonly client: CriClient;
  readonly nriSocket: string;
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(child: ChildProcess, directory: string) {
    this.#process = child;
    this.#directory = directory;
    this.nriSocket = path.join(directory, "nri.sock");
    this.client = new CriClient(path.join(directory, "c.sock"));
  }

  /**
   * Starts it with an image, which is that of its pause processes as well. The programs in `<directory>/plugins`
   * are plugins that it starts.
   */
  static async start(
    directory: string,
    image: { readonly name: string; readonly image: TestImage },
  ): Promise<CriContainerd> {
    mkdirSync(path.join(directory, "net.d"), { recursive: true });
    const config = path.join(directory, "config.toml");
    writeFileSync(config, configuration(directory, image.name));
    const out = openSync(path.join(directory, "log"), "w");
    const child = spawn("containerd", ["--config", config], { stdio: ["ignore", out, out] });
    const containerd = new CriContainerd(child, directory);
    try {
      await until("containerd answers", () => containerd.#answers(), 30_000);
      await containerd.#import(image.name, image.image);
      return containerd;
    } catch (error) {
      await containerd[Symbol.asyncDispose]();
      throw new Error(`start containerd: ${containerd.log().slice(-2000)}`, { cause: error });
    }
  }

  /** What it has logged. */
  log(): string {
    return readFileSync(path.join(this.#directory, "log"), "utf8");
  }

  /** Whether a plugin that it started has registered, or one from outside is also synchronized. */
  readonly isConnected = (plugin: string): boolean => {
    const lines = this.log().split("\n");
    const isDone = / connected|pre-connected.* registered as/;
    return lines.some((line) => line.includes(plugin) && isDone.test(line));
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    await exited;
  }

  async #answers(): Promise<boolean> {
    if (this.#process.exitCode !== null) throw new Error("containerd ended");
    return await this.client.runtime.version({}).then(
      () => true,
      () => false,
    );
  }

  /** Without a registry: containerd pulls nothing. */
  async #import(name: string, image: TestImage): Promise<void> {
    const annotations = { "io.containerd.image.name": name };
    const archive = path.join(this.#directory, "image.tar");
    writeFileSync(archive, tarOf(ociLayout([image], [{ blob: image.manifest, annotations }])));
    const socket = path.join(this.#directory, "c.sock");
    const timeout = patient(30_000);
    await run("ctr", ["-a", socket, "-n", "k8s.io", "images", "import", archive], { timeout });
  }
}

function configuration(directory: string, image: string): string {
  const text = (name: string): string => JSON.stringify(path.join(directory, name));
  const without = [
    "io.containerd.internal.v1.restart",
    ...["btrfs", "devmapper", "zfs", "blockfile", "native"].map(
      (name) => `io.containerd.snapshotter.v1.${name}`,
    ),
  ];
  return `
version = 2
root = ${text("root")}
state = ${text("state")}
temp = ${text("tmp")}
disabled_plugins = ${JSON.stringify(without)}
[grpc]
  address = ${text("c.sock")}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text("opt")}
[plugins."io.containerd.monitor.v1.cgroups"]
  no_prometheus = true
[plugins."io.containerd.nri.v1.nri"]
  disable = false
  disable_connections = false
  socket_path = ${text("nri.sock")}
  plugin_path = ${text("plugins")}
  plugin_config_path = ${text("conf.d")}
  # Its plugins are programs of Node.js, and the machine may be slow.
  plugin_registration_timeout = "${patient(30)}s"
  plugin_request_timeout = "${patient(30)}s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(image)}
  # A machine may lack CAP_SYS_RESOURCE, without which the pause process gets no negative score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text("cni")}
    conf_dir = ${text("net.d")}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "crun"
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "/usr/bin/crun"
        SystemdCgroup = false
`;
}
