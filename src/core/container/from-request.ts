import { randomBytes } from "node:crypto";
import { posix } from "node:path";
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

/** The path of a container's log, as the request has it, in the log directory of its pod. */
export function logPathIn(logDirectory: string, logPath: string): string {
  return posix.join(posix.resolve("/", logDirectory), logPath);
}

/** The paths of a container's log and cgroup. */
export function pathsOf(
  id: string,
  config: Pick<ContainerConfig, "logPath">,
  sandbox: Pick<Sandbox, "cgroup"> & { readonly config: Pick<Sandbox["config"], "logDirectory"> },
): { readonly logPath: string; readonly hasLog: boolean; readonly cgroupPath: string } {
  const { logDirectory } = sandbox.config;
  const hasLog = config.logPath !== "" && logDirectory !== "";
  // NOTE(kubelet): it removes the directory of a dead container's log; with an empty path it
  // removed the host's root once. So the path is always absolute and used by this container alone.
  const directory = logDirectory === "" ? "/var/log/pods" : logDirectory;
  return {
    logPath: logPathIn(directory, hasLog ? config.logPath : `${id}.log`),
    hasLog,
    cgroupPath: containerCgroup(sandbox.cgroup, id).path,
  };
}
