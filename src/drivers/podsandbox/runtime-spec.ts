import type { Sandbox } from "../../core/sandbox/index.ts";
import { hostnameOf } from "./files.ts";
import { holderCgroup } from "./holder.ts";
import type { PinnedPaths } from "./state-layout.ts";

/**
 * The sandbox as an OCI runtime spec, for tools that read `info.runtimeSpec`: no pause container
 * runs with such a spec, but it has namespaces and cgroup where a tool expects them.
 */
export function runtimeSpec(
  sandbox: Sandbox,
  pins: PinnedPaths,
): Readonly<Record<string, unknown>> {
  const { metadata, annotations, logDirectory } = sandbox.config;
  const pid = sandbox.process?.pid;
  return {
    ociVersion: "1.2.0",
    hostname: hostnameOf(sandbox),
    annotations: {
      ...annotations,
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": sandbox.id,
      "io.kubernetes.cri.sandbox-name": metadata?.name ?? "",
      "io.kubernetes.cri.sandbox-namespace": metadata?.namespace ?? "",
      "io.kubernetes.cri.sandbox-uid": metadata?.uid ?? "",
      "io.kubernetes.cri.sandbox-log-directory": logDirectory,
    },
    linux: {
      cgroupsPath: holderCgroup(sandbox),
      namespaces: [
        ...(pins.user === undefined ? [] : [{ type: "user", path: pins.user }]),
        ...(pins.net === undefined ? [] : [{ type: "network", path: pins.net }]),
        ...(pins.ipc === undefined ? [] : [{ type: "ipc", path: pins.ipc }]),
        ...(pins.uts === undefined ? [] : [{ type: "uts", path: pins.uts }]),
        ...(pid === undefined ? [] : [{ type: "pid", path: `/proc/${String(pid)}/ns/pid` }]),
      ],
    },
  };
}
