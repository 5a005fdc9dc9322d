import type { KnownIds } from "../store/index.ts";
import type { Operation } from "../operation/index.ts";
import type { SandboxNetwork } from "../sandbox/index.ts";

/** A port of the node that leads into the pod (CNI capability "portMappings"). */
export interface PortForwarding {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Address of the node to listen on, "" for all. */
  readonly hostIp: string;
}

/** Everything that the network must know of a pod. */
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

/** Whether pods can be given a network, and if not, why. */
export type NetworkStatus =
  | { readonly ready: true }
  | { readonly ready: false; readonly reason: string };

/**
 * An attachment of a sandbox to the pod network, as it is on record from before the first plugin
 * runs until the last DEL worked: whoever reads it can take the network down without asking
 * anything else, with the plugins and the configuration of the day it was made.
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
  /** Boot in which it was made: the namespace lives no longer than that. */
  readonly bootId: string;
  /** Undefined while the pod has its network; else what is known of the tries to remove it. */
  readonly removal: AttachmentRemoval | undefined;
}

/** What is known of the tries to remove an attachment. */
export interface AttachmentRemoval {
  readonly tries: number;
  /** Milliseconds since 1970. */
  readonly firstTriedAtMs: number;
  readonly lastError: string;
  /** True when nobody waits for it any more: the queue goes on alone. */
  readonly queued: boolean;
}

/** What names an attachment that garbage collection must not touch. */
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

/** Who is told of the plugins that take a network away, one after another, by their names. */
export interface PluginListeners {
  /** This plugin begins. */
  readonly onPlugin?: (plugin: string) => void;
  /** This plugin has done its part. */
  readonly onPluginDone?: (plugin: string) => Promise<void>;
}

/** The pod network of this node. */
export interface PodNetwork {
  /**
   * Gives the pod its interface and addresses. `record` is called with the attachment before
   * anything is made and again with the result, so that a crash at any point leaves a trace
   * that remove() can work from.
   */
  add(
    request: NetworkRequest,
    operation: Operation,
    record: (attachment: Attachment) => Promise<void> | void,
  ): Promise<SandboxNetwork>;
  /**
   * Takes the pod's network away (CNI DEL in reverse order). An attachment whose namespace is
   * gone is removed with an empty CNI_NETNS, which frees its addresses all the same.
   */
  remove(
    attachment: Attachment,
    options: { readonly signal: AbortSignal } & PluginListeners,
  ): Promise<void>;
  /**
   * Has the network drop what belongs to none of the `valid` attachments (CNI GC), where its plugins
   * know how to; elsewhere nothing happens. `valid` is asked for when nothing is added or removed,
   * and names every attachment on record, whatever its network.
   */
  collect(
    valid: () => readonly ValidAttachment[],
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
  /**
   * Takes the node's pod CIDRs (UpdateRuntimeConfig, comma separated), for plugins that want to be
   * told. `invalid-argument` for what is none.
   */
  setPodCidr(cidrs: string): void;
  /** From memory: no plugin runs and no file is read. */
  status(): NetworkStatus;
  /** Facts for the verbose Status: the configuration in use, and how the last load of it went. */
  describe(): Readonly<Record<string, unknown>>;
}
