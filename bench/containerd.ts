/** A containerd, by default Debian's, which is measured with crun and its runc v2 shim. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { pluginDir, writeNetwork } from "./network.ts";
import { pauseImageName, writePauseImage } from "./pause-image.ts";
import { environment, Server } from "./server.ts";

const run = promisify(execFile);

/** Debian's. Others can be measured by hand. */
export const debianContainerd = "/usr/bin/containerd";

/**
 * containerd with files of its own, not started yet. The directory of `program` is the first of its PATH, where it
 * looks for its shim. A containerd 2.x converts the configuration, which is that of 1.7, when it starts.
 */
export async function prepareContainerd(options: {
  readonly program: string;
  readonly directory: string;
  readonly network: string;
}): Promise<Server> {
  const name = "containerd";
  const directory = path.join(options.directory, name);
  const state = `/run/${name}`;
  const socket = `${state}/${name}.sock`;
  const confDir = path.join(directory, "net.d");
  await mkdir(directory, { recursive: true });
  await writeNetwork({
    confDir,
    bridge: "bench-containerd".slice(0, 15),
    subnet: `${options.network}.0.0/16`,
    ipamDir: path.join(directory, "ipam"),
  });
  const config = path.join(directory, "config.toml");
  await writeFile(config, configuration({ directory, state, socket, confDir }));
  return new Server({
    name,
    socket,
    mark: `${state}/`,
    run: {
      command: [options.program, "--config", config],
      env: { PATH: `${path.dirname(options.program)}:${environment.PATH}` },
      logFile: path.join(directory, "log"),
    },
  });
}

/** Gives a running containerd the image of its pause processes, whose program is `pause`. */
export async function importPauseImage(
  server: Server,
  options: { readonly directory: string; readonly pause: string },
): Promise<void> {
  const archive = path.join(options.directory, "pause.tar");
  await writePauseImage(archive, options.pause);
  await run("ctr", ["--address", server.socket, "-n", "k8s.io", "images", "import", archive]);
}

interface Paths {
  readonly directory: string;
  readonly state: string;
  readonly socket: string;
  readonly confDir: string;
}

/** Debian's defaults, with other paths, with crun, and without the plugins that no kubelet needs. */
function configuration({ directory, state, socket, confDir }: Paths): string {
  const text = JSON.stringify;
  return `
version = 2
root = ${text(path.join(directory, "root"))}
state = ${text(state)}
disabled_plugins = ["io.containerd.internal.v1.restart", "io.containerd.nri.v1.nri"]
[grpc]
  address = ${text(socket)}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text(path.join(directory, "opt"))}
[plugins."io.containerd.monitor.v1.cgroups"]
  no_prometheus = true
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseImageName)}
  # A machine may lack CAP_SYS_RESOURCE, without which the pause process gets no negative score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(pluginDir)}
    conf_dir = ${text(confDir)}
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
