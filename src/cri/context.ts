import type { LogFields, Logger } from "../base/logger.ts";
import type { HandlerFeatures } from "../core/handler/index.ts";
import type { PodNetwork } from "../core/network/index.ts";
import type { StreamUrls } from "../core/streaming/index.ts";
import type { StatsReader } from "../core/stats/index.ts";
import type { ContainerContext } from "../engine/container/index.ts";
import type { EventFeed, NodeEvents } from "../engine/events/index.ts";
import type { ImageContext } from "../engine/image/index.ts";
import type { Leases } from "../engine/lifecycle/leases.ts";
import type { SandboxContext } from "../engine/sandbox/index.ts";
import type { SnapshotContext } from "../engine/snapshot/index.ts";
import type { Peer } from "../wire/grpc/call.ts";

/** The dependencies of the RPCs. The composition root creates it once. */
export interface CriContext {
  /** The version of this build of davit. */
  readonly version: string;
  /** The maximum size of an answer. Clients reject larger ones (16 MiB in kubelet and crictl). */
  readonly maxMessageBytes: number;
  readonly sandboxes: SandboxContext;
  readonly containers: ContainerContext;
  readonly images: ImageContext;
  /** Creates the URLs of the streaming server. */
  readonly urls: StreamUrls;
  readonly stats: StatsReader;
  /** The changes of all containers and sandboxes. */
  readonly events: EventFeed;
  /** What happens on the node besides. */
  readonly nodeEvents: Pick<NodeEvents, "subscribe" | "close">;
  /** What clients hold so that their pods go with them. */
  readonly leases: Pick<Leases, "hold" | "close">;
  /** The snapshots of pods; loaded when they are used first. */
  readonly snapshots: () => Promise<SnapshotContext>;
  /** The network of the default handler. The readiness of the node depends on it. */
  readonly network: PodNetwork;
  /** The cgroup driver. */
  readonly cgroupDriver: "cgroupfs" | "systemd";
  /** The features of each handler. The first call waits for the answers of the runtimes, at most 5 s. */
  readonly handlers: () => Promise<readonly HandlerFeatures[]>;
  /** Additional JSON values for the verbose Status, by key. */
  readonly describe: () => Readonly<Record<string, unknown>>;
  /** Reads the configuration of the daemon again; the fields of the log say for whom. Never rejects. */
  readonly reload: (by: LogFields) => Promise<ReloadReport>;
  readonly log: Logger;
}

/** What a reload of the configuration did: it changed something, or was refused as a whole. */
export interface ReloadReport {
  /** The settings that took effect. */
  readonly changed: readonly SettingChange[];
  /** Those that take effect when davit restarts, with the reason if a reload can change others of this kind. */
  readonly waiting: readonly (SettingChange & { readonly reason: string })[];
  /** Why nothing was changed; empty if it was not refused. */
  readonly refused: readonly string[];
}

/** A setting with its old and new value, without secrets. */
interface SettingChange {
  /** As the file writes it: `log.level`. */
  readonly key: string;
  readonly before: string;
  readonly after: string;
}

/** The call that an RPC serves. */
export interface RpcCall {
  /** Aborted when the caller has disconnected. */
  readonly signal: AbortSignal;
  /** The encoded request, for the database. */
  readonly requestBytes: Uint8Array;
  /** When the caller gives up, in milliseconds since the epoch. Undefined: never. */
  readonly deadline?: number | undefined;
  /** Who called; undefined if that is not known. */
  readonly peer: Peer | undefined;
  /** Tells the client that a stream of answers is open, before its first answer. */
  open(): void;
}
