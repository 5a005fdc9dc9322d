/** Debian's containerd with its CRI and NRI, all of its files below one directory. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { CriClient } from "../../src/client/cri-client.ts";
import { ociLayout, tarOf } from "./archives.ts";
import { ContainerdProcess, socketIn, unusedPlugins } from "./containerd-process.ts";
import type { TestImage } from "./images.ts";
import { patient } from "./patience.ts";

const run = promisify(execFile);

/** Why no containerd can run here; undefined where it can. */
export const noContainerd = ["/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/crun"].find(
  (program) => !existsSync(program),
);

/** containerd, whose pods are on the host's network and whose containers run by crun. */
export class CriContainerd implements AsyncDisposable {
  readonly client: CriClient;
  readonly nriSocket: string;
  readonly #process: ContainerdProcess;

  private constructor(running: ContainerdProcess, client: CriClient, directory: string) {
    this.#process = running;
    this.client = client;
    this.nriSocket = path.join(directory, "nri.sock");
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
    const client = new CriClient(socketIn(directory));
    const answers = (): Promise<boolean> =>
      client.runtime.version({}).then(
        () => true,
        () => false,
      );
    await using undo = new AsyncDisposableStack();
    undo.defer(() => client.close());
    const config = configuration(directory, image.name);
    const running = await ContainerdProcess.start(directory, config, answers);
    undo.defer(() => running.end("SIGTERM"));
    await importImage(directory, image.name, image.image);
    undo.move();
    return new CriContainerd(running, client, directory);
  }

  /** What it has logged. */
  log(): string {
    return this.#process.log();
  }

  /** Whether a plugin that it started has registered, or one from outside is also synchronized. */
  readonly isConnected = (plugin: string): boolean => {
    const lines = this.log().split("\n");
    const isDone = / connected|pre-connected.* registered as/;
    return lines.some((line) => line.includes(plugin) && isDone.test(line));
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.#process.end("SIGTERM");
  }
}

/** Without a registry: containerd pulls nothing. */
async function importImage(directory: string, name: string, image: TestImage): Promise<void> {
  const annotations = { "io.containerd.image.name": name };
  const archive = path.join(directory, "image.tar");
  writeFileSync(archive, tarOf(ociLayout([image], [{ blob: image.manifest, annotations }])));
  const timeout = patient(30_000);
  const args = ["-a", socketIn(directory), "-n", "k8s.io", "images", "import", archive];
  await run("ctr", args, { timeout });
}

function configuration(directory: string, image: string): string {
  const text = (name: string): string => JSON.stringify(path.join(directory, name));
  return `
version = 2
root = ${text("root")}
state = ${text("state")}
temp = ${text("tmp")}
disabled_plugins = ${JSON.stringify(unusedPlugins)}
[grpc]
  address = ${JSON.stringify(socketIn(directory))}
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
