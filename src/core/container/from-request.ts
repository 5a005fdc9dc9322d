import { randomBytes } from "node:crypto";
import type { ContainerConfig, ContainerMetadata } from "../../gen/runtime/v1/api_pb.ts";
import { containerCgroup, type Sandbox } from "../sandbox/index.ts";

/** A new container id: 64 hexadecimal digits, as with containerd and CRI-O. */
export function newContainerId(): string {
  return randomBytes(32).toString("hex");
}

/** The unique name of a container: one attempt of one container of a sandbox. */
export function containerName(metadata: ContainerMetadata, sandboxName: string): string {
  const own = [metadata.name, String(metadata.attempt)].map((part) => part.replaceAll("_", "__"));
  return [...own, sandboxName].join("_");
}

/** The paths of a container's log and cgroup. */
export function logAndCgroupPaths(
  id: string,
  config: ContainerConfig,
  sandbox: Sandbox,
): { readonly logPath: string; readonly hasLog: boolean; readonly cgroupPath: string } {
  const directory = sandbox.config.logDirectory;
  const hasLog = config.logPath !== "" && directory !== "";
  // NOTE(kubelet): it removes the directory of a dead container's log. With an empty path one version
  // removed the host's root. So the path is always absolute and unique to this container.
  const file = hasLog ? config.logPath.replace(/^\/+/, "") : `${id}.log`;
  return {
    logPath: `${directory === "" ? "/var/log/pods" : directory.replace(/\/+$/, "")}/${file}`,
    hasLog,
    cgroupPath: containerCgroup(sandbox.cgroup, id).path,
  };
}
