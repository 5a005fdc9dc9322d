import { randomBytes } from "node:crypto";
import type { ContainerConfig, ContainerMetadata } from "../../gen/runtime/v1/api_pb.ts";
import { containerCgroup, type Sandbox } from "../sandbox/index.ts";

/** A new container id: 64 hexadecimal digits, as in containerd and CRI-O. */
export function newContainerId(): string {
  return randomBytes(32).toString("hex");
}

/** The name that a container reserves: one attempt of one container of a sandbox. */
export function containerName(metadata: ContainerMetadata, sandboxName: string): string {
  const own = [metadata.name, String(metadata.attempt)].map((part) => part.replaceAll("_", "__"));
  return [...own, sandboxName].join("_");
}

/** The paths of a container's log and cgroup. */
export function pathsOf(
  id: string,
  config: ContainerConfig,
  sandbox: Sandbox,
): { readonly logPath: string; readonly hasLog: boolean; readonly cgroupPath: string } {
  const directory = sandbox.config.logDirectory;
  const hasLog = config.logPath !== "" && directory !== "";
  // NOTE(kubelet): it removes the directory of a dead container's log; with an empty path it
  // removed the host's root once. So the path is always absolute and used by this container alone.
  const file = hasLog ? config.logPath.replace(/^\/+/, "") : `${id}.log`;
  return {
    logPath: `${directory === "" ? "/var/log/pods" : directory.replace(/\/+$/, "")}/${file}`,
    hasLog,
    cgroupPath: containerCgroup(sandbox.cgroup, id).path,
  };
}
