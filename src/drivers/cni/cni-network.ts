import type { Logger } from "../../base/logger.ts";
import type {
  Attachment,
  NetworkRequest,
  NetworkStatus,
  PodNetwork,
} from "../../core/network/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { SandboxNetwork } from "../../core/sandbox/index.ts";
import type { PluginExec } from "./plugin-exec.ts";

/** What a {@link CniNetwork} is made of. */
export interface CniNetworkOptions {
  /** Folder of the network configurations; the first valid file in it is the pod network. */
  readonly confDir: string;
  /** Folders of the plugins, searched in order. */
  readonly binDirs: readonly string[];
  /** The boot that this daemon runs in: network namespaces of other boots are gone. */
  readonly bootId: string;
  readonly log: Logger;
  /** How long one plugin may take before it is killed. Milliseconds. */
  readonly pluginTimeoutMs?: number;
  /** How many ADDs, and apart from them how many DELs, run at once. */
  readonly maxParallel?: number;
  /** How often the folder is looked at besides watching it. Milliseconds. */
  readonly rescanIntervalMs?: number;
  /** How often the plugins are asked for their STATUS. Milliseconds. */
  readonly statusIntervalMs?: number;
  /** Environment that plugins inherit; CNI_* in it is dropped. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly exec?: PluginExec;
  /** Whether a namespace is mounted at the path. */
  readonly isNamespaceMounted?: (path: string) => boolean;
}

/** An attachment that garbage collection must not touch. */
export interface ValidAttachment {
  readonly sandboxId: string;
  readonly ifName: string;
}

/** The pod network of one configuration folder. */
export class CniNetwork implements PodNetwork, AsyncDisposable {
  private constructor(_options: CniNetworkOptions) {}

  /** Loads the configuration and begins to watch it. Never fails for a bad one: see status(). */
  static open(options: CniNetworkOptions): Promise<CniNetwork> {
    return Promise.resolve(new CniNetwork(options));
  }
  /** Takes the pod CIDRs of the node (UpdateRuntimeConfig), comma separated, for capability ipRanges. */
  setPodCidr(_cidrs: string): void {
    throw new Error("not made yet");
  }
  add(
    _request: NetworkRequest,
    _operation: Operation,
    _record: (attachment: Attachment) => Promise<void> | void,
  ): Promise<SandboxNetwork> {
    throw new Error("not made yet");
  }
  remove(
    _attachment: Attachment,
    _options: { readonly signal: AbortSignal; readonly onPluginDone?: () => Promise<void> },
  ): Promise<void> {
    throw new Error("not made yet");
  }
  /** Tells the plugins which attachments exist, so that they drop the rest (CNI GC, 1.1.0 or newer). */
  collect(
    _valid: readonly ValidAttachment[],
    _options: { readonly signal: AbortSignal },
  ): Promise<void> {
    throw new Error("not made yet");
  }
  status(): NetworkStatus {
    return { ready: false, reason: "not made yet" };
  }
  describe(): Readonly<Record<string, unknown>> {
    return {};
  }
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}
