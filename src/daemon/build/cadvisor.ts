import { existsSync } from "node:fs";
import { stat } from "node:fs/promises";
import { isKind, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import type { CadvisorConfig } from "../../config/config.ts";
import type { ContainerStore } from "../../core/container/index.ts";
import type { Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import {
  type CgroupLayout,
  createEmptyCgroup,
  removeEmptyCgroup,
} from "../../linux/cgroup/index.ts";
import { CadvisorServer, type NetworkHost, PodNetworks } from "../../telemetry/cadvisor/index.ts";

/** dockerd without --containerd uses a containerd that serves the default path, when it starts. */
const dockerSocket = "/run/docker.sock";

/** Whether cAdvisor is served, for the verbose Status. */
export interface CadvisorView {
  readonly socket: string;
  readonly served: boolean;
  /** Why it is not served; empty when it is. */
  readonly reason: string;
}

/** The socket for cAdvisor, or the reason why there is none. */
export interface Cadvisor extends AsyncDisposable {
  view(): CadvisorView;
}

interface Deps {
  readonly config: CadvisorConfig;
  readonly version: string;
  readonly sandboxes: SandboxStore;
  readonly containers: ContainerStore;
  readonly layout: CgroupLayout;
  readonly log: Logger;
  /** For tests. */
  readonly dockerSocket?: string;
}

/**
 * Serves cAdvisor unless the path has another owner. Never rejects: pods run without it. Call it after the
 * recovery.
 */
export async function openCadvisor(deps: Deps): Promise<Cadvisor> {
  const { config, log } = deps;
  const { listen: socket } = config;
  await using undo = new AsyncDisposableStack();
  let reason = "";
  const stay = (why: string): Cadvisor => {
    log.info("not serving cAdvisor", { socket, reason: why });
    return { view: () => ({ socket, served: false, reason: why }), ...disposal(undefined) };
  };
  const docker = deps.dockerSocket ?? dockerSocket;
  if (config.serve === "auto" && existsSync(docker)) {
    return stay(`${docker} exists: Docker would take this socket for containerd's`);
  }
  const tasks = undo.use(new TaskGroup(log));
  const networks = undo.use(new PodNetworks({ ...deps, host: networkHost(deps.layout), tasks }));
  try {
    undo.use(
      await CadvisorServer.open({
        ...deps,
        path: socket,
        networkPid: (id) => networks.pidOf(id),
        onLost: () => {
          reason = "the socket was removed, or another process has replaced it";
          networks[Symbol.dispose]();
          tasks.spawn("remove the cgroups for cAdvisor", () => networks.clear());
        },
      }),
    );
  } catch (error) {
    // That is the normal case on a node with containerd.
    if (!isKind(error, "failed-precondition")) log.warn(messageOf(error));
    return stay(messageOf(error));
  }
  networks.begin();
  log.info("serving cAdvisor", { socket });
  const parts = undo.move();
  return { view: () => ({ socket, served: reason === "", reason }), ...disposal(parts) };
}

function disposal(parts: AsyncDisposableStack | undefined): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => parts?.disposeAsync() };
}

/** The kernel's side of a pod's network. */
function networkHost(layout: CgroupLayout): NetworkHost {
  return {
    async isInNetwork(pid, netnsPath) {
      try {
        const [own, pods] = await Promise.all([stat(`/proc/${pid}/ns/net`), stat(netnsPath)]);
        return own.ino === pods.ino && own.dev === pods.dev;
      } catch {
        return false; // the process, or the pod, has ended
      }
    },
    async remakeCgroup(sandbox) {
      const path = cgroupOf(sandbox);
      if (path === undefined) return false;
      try {
        await removeEmptyCgroup(layout, path);
      } catch (error) {
        if (isKind(error, "failed-precondition")) return false;
        throw error;
      }
      return createEmptyCgroup(layout, path);
    },
    async removeCgroup(sandbox) {
      const path = cgroupOf(sandbox);
      if (path !== undefined) await removeEmptyCgroup(layout, path);
    },
  };
}

/** Where a holder would be: cAdvisor and kubelet find the sandbox by the last part of the path. */
function cgroupOf({ id, cgroup }: Sandbox): string | undefined {
  return cgroup === undefined ? undefined : `${cgroup.parent}/${id}`;
}
