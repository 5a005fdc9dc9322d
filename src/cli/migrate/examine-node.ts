import { statfsSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { messageOf } from "../../base/errors.ts";
import { CriClient } from "../../client/cri-client.ts";
import type { Config } from "../../config/config.ts";
import { defaultConfig, parseConfig } from "../../config/load.ts";
import { ContainerState, PodSandboxState } from "../../gen/runtime/v1/api_pb.ts";
import { defaultFiles, importConfig, type Rival } from "../import-config/import-config.ts";
import type { NodeFiles } from "../import-config/node-files.ts";
import { readKubeletEndpoint } from "./kubelet-endpoint.ts";
import type { NodeFacts } from "./plan.ts";

const sockets: Readonly<Record<Rival, string>> = {
  containerd: "/run/containerd/containerd.sock",
  crio: "/var/run/crio/crio.sock",
};
const quickMs = 10_000;

/** The runtime that a socket belongs to, by its path. */
function rivalOf(endpoint: string): Rival | undefined {
  return (["containerd", "crio"] as const).find((name) => path.basename(endpoint).includes(name));
}

/** Looks at the node: the files of kubelet and of the runtime, its socket, the disk. `ours` is davit's configuration. */
export async function examineNode(
  files: NodeFiles,
  ours: Config,
  from: Rival | undefined,
): Promise<NodeFacts> {
  const kubelet = readKubeletEndpoint(files);
  const byKubelet = kubelet === undefined ? undefined : rivalOf(kubelet.endpoint);
  const bySocket = files.exists(sockets.crio) ? "crio" : "containerd";
  const rival = from ?? byKubelet ?? bySocket;
  const named = kubelet?.endpoint.replace(/^unix:\/\//, "");
  // After the move, kubelet's socket is davit's. One whose name tells nothing is that of the runtime.
  const isOurs = named !== undefined && withoutVar(named) === withoutVar(ours.server.listen);
  const isTheirs = !isOurs && (byKubelet ?? rival) === rival;
  const socket = named !== undefined && isTheirs ? named : sockets[rival];
  return {
    from: rival,
    nodeName: hostname().toLowerCase(),
    kubelet,
    socket,
    running: await askRuntime(socket),
    root: ours.root,
    freeBytes: freeBytes(ours.root),
    davitSocket: ours.server.listen,
    cni: network(files, ours, theirConfig(files, rival).cni.confDir),
  };
}

/** /var/run is a symbolic link to /run. */
function withoutVar(socket: string): string {
  return socket.replace(/^\/var\/run\//, "/run/");
}

async function askRuntime(socket: string): Promise<NodeFacts["running"]> {
  using client = new CriClient(socket, { maxMessageBytes: 64 * 1024 * 1024 });
  const options = { timeoutMs: quickMs };
  try {
    const version = await client.runtime.version({}, options);
    const { items } = await client.runtime.listPodSandbox({}, options);
    const { containers } = await client.runtime.listContainers({}, options);
    const { images } = await client.image.listImages({}, options);
    return {
      runtime: `${version.runtimeName} ${version.runtimeVersion}`,
      pods: items
        .filter(({ state }) => state === PodSandboxState.SANDBOX_READY)
        .map(({ metadata }) => `${metadata?.namespace}/${metadata?.name}`)
        .toSorted(),
      containers: containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING)
        .length,
      images: images.length,
      imageBytes: images.reduce((sum, { size }) => sum + size, 0n),
    };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

/** The settings that davit would get from the node; the defaults if there is nothing to read. */
function theirConfig(files: NodeFiles, rival: Rival): Config {
  try {
    return parseConfig(importConfig(rival, files, defaultFiles[rival]).text, "imported");
  } catch {
    // davit config import reports what is wrong.
    return defaultConfig();
  }
}

function network(files: NodeFiles, ours: Config, theirs: string): NodeFacts["cni"] {
  const name = files.list(theirs).find((each) => /\.(conflist|conf|json)$/.test(each));
  const file = name === undefined ? undefined : path.join(theirs, name);
  const hasPortmap = file !== undefined && /"type"\s*:\s*"portmap"/.test(files.read(file));
  return { theirs, ours: ours.cni.confDir, file, hasPortmap };
}

function freeBytes(root: string): bigint | undefined {
  for (let at = root; ; at = path.dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at, { bigint: true });
      return bavail * bsize;
    } catch {
      // davit may not have been started: then its directory is made later.
      if (at === path.dirname(at)) return undefined;
    }
  }
}
