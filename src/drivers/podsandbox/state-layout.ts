import { join } from "node:path";
import {
  namespaceModes,
  podUsers,
  type Sandbox,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";

/** The kinds of namespaces that are pinned, each in a directory of this name. */
export const pinKinds = ["net", "ipc", "uts", "user"] as const;

/** The pinned namespaces of a sandbox; without those of the host. */
export interface PinnedPaths {
  readonly user?: string;
  readonly net?: string;
  readonly ipc?: string;
  readonly uts?: string;
}

/**
 * The paths of a sandbox. Each path follows from the id alone, so that files that a crash left can be found
 * without a record.
 */
export class StateLayout {
  /** Holds the namespace mounts, a directory a kind. */
  readonly namespaces: string;
  /** Holds a directory for each sandbox. */
  readonly sandboxes: string;

  /** `state` is the state directory of the configuration. */
  constructor(state: string) {
    this.namespaces = join(state, "ns");
    this.sandboxes = join(state, "sandboxes");
  }

  directory(id: string): string {
    return join(this.sandboxes, id);
  }

  shm(id: string): string {
    return join(this.directory(id), "shm");
  }

  file(id: string, name: "resolv.conf" | "hosts" | "hostname"): string {
    return join(this.directory(id), name);
  }

  /** All pin paths of the id, whether they are used or not. */
  pins(id: string): Required<PinnedPaths> {
    return {
      user: join(this.namespaces, "user", id),
      net: join(this.namespaces, "net", id),
      ipc: join(this.namespaces, "ipc", id),
      uts: join(this.namespaces, "uts", id),
    };
  }

  /** The pins that this sandbox's config requires. A pod on the host's network also has the host's name. */
  pinned(sandbox: Sandbox): PinnedPaths {
    const { user, net, ipc, uts } = this.pins(sandbox.id);
    return {
      ...(podUsers(sandbox.config) === undefined ? {} : { user }),
      ...(usesHostNetwork(sandbox.config) ? {} : { net, uts }),
      ...(namespaceModes(sandbox.config).ipc === NamespaceMode.NODE ? {} : { ipc }),
    };
  }
}

/** True when the pod's containers share a PID namespace, which needs a holder process. */
export function needsHolder(sandbox: Sandbox): boolean {
  return namespaceModes(sandbox.config).pid === NamespaceMode.POD;
}
