import type { KnownIds } from "../store/index.ts";
import type { Operation } from "../operation/index.ts";
import type { SandboxNetwork } from "../sandbox/index.ts";

/** A port of the node that is forwarded to the pod (CNI capability "portMappings"). */
export interface PortForwarding {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Address of the node to listen on, "" for all. */
  readonly hostIp: string;
}

/** What the network needs to know about a pod. */
export interface NetworkRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** Only those with a host port; 0 means none (api.proto, PortMapping). */
  readonly portMappings: readonly PortForwarding[];
  readonly dns: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  /** The pod's cgroup parent, "" when unknown. */
  readonly cgroupPath: string;
}

/** Whether the network can attach pods, and if not, why. */
export type NetworkStatus =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: string };

/**
 * The attachment of a sandbox to the pod network. It is recorded from before the first plugin runs
 * until the last DEL succeeds. It has all that the removal of the network needs: the plugins and the
 * configuration with which the network was made.
 */
export interface Attachment {
  readonly sandboxId: string;
  readonly ifName: string;
  readonly netnsPath: string;
  /** The network configuration list that was used, as JSON text. */
  readonly conflist: string;
  /** Arguments of every plugin call (CNI_ARGS and capability arguments), as JSON text. */
  readonly args: string;
  /** The last result of ADD, as JSON text; undefined until ADD worked. */
  readonly result: string | undefined;
  /** The boot in which it was made. The namespace does not outlive it. */
  readonly bootId: string;
  /** The tries to remove it; undefined while the pod uses its network. */
  readonly removal: AttachmentRemoval | undefined;
}

/** The tries to remove an attachment. */
interface AttachmentRemoval {
  readonly tries: number;
  /** Milliseconds since 1970. */
  readonly firstTriedAtMs: number;
  readonly lastError: string;
  /** True when the removal is queued in the background and no client retries it. */
  readonly queued: boolean;
}

/** Identifies an attachment that garbage collection must keep. */
export type ValidAttachment = Pick<Attachment, "sandboxId" | "ifName">;

/** Notes next to the records of attachments, which outlive the loss of the records. */
export interface AttachmentNotes {
  /** The attachments as they were noted last, except those of sandboxes in `recorded`. */
  load(recorded: KnownIds): readonly Attachment[];
  /** Notes an attachment before its record is written. One note of a sandbox at a time. */
  note(attachment: Attachment): Promise<void>;
  /** Removes the note, after the record. Never rejects. */
  delete(sandboxId: string): Promise<void>;
}

/** Callbacks for the plugins of a removal, which run one after another. */
export interface PluginListeners {
  /** The plugin starts. */
  readonly onPlugin?: (plugin: string) => void;
  /** The plugin has finished. */
  readonly onPluginDone?: (plugin: string) => Promise<void>;
}

/** A run of a network plugin that has ended. */
export interface PluginRun {
  readonly plugin: string;
  readonly command: "ADD" | "DEL" | "STATUS" | "GC";
  readonly tookMs: number;
  readonly failed: boolean;
}

/** Observes each run of a plugin at its end. Must not throw. */
export type PluginObserver = (run: PluginRun) => void;

/** The pod network of this node. */
export interface PodNetwork {
  /**
   * Attaches the pod: creates its interface and assigns its addresses. Calls `record` with the
   * attachment before anything is created and again with the result, so that remove() works after a
   * crash at any point.
   */
  add(
    request: NetworkRequest,
    operation: Operation,
    record: (attachment: Attachment) => Promise<void> | void,
  ): Promise<SandboxNetwork>;
  /**
   * Removes the pod's network (CNI DEL in reverse order). An attachment whose namespace does not exist
   * any more is removed with an empty CNI_NETNS, which still releases its addresses.
   */
  remove(
    attachment: Attachment,
    options: { readonly signal: AbortSignal } & PluginListeners,
  ): Promise<void>;
  /**
   * Makes the network remove what belongs to none of the `valid` attachments (CNI GC). Does nothing
   * when its plugins do not support that. `valid` is called while no attachment is added or removed,
   * and returns all recorded attachments, of every network.
   */
  collect(
    valid: () => readonly ValidAttachment[],
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
  /**
   * Sets the node's pod CIDRs (UpdateRuntimeConfig, comma separated) for plugins that use them.
   * `invalid-argument` for an invalid CIDR.
   */
  setPodCidr(cidrs: string): void;
  /** The status, from memory: no plugin runs and no file is read. */
  status(): NetworkStatus;
  /** Values for the verbose Status: the configuration in use and the result of its last load. */
  describe(): Readonly<Record<string, unknown>>;
}
