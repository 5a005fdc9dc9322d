import type { Logger } from "../base/logger.ts";
import type { HandlerFeatures } from "../core/handler/index.ts";
import type { PodNetwork } from "../core/network/index.ts";
import type { StreamUrls } from "../core/streaming/index.ts";
import type { StatsReader } from "../core/stats/index.ts";
import type { ContainerContext } from "../engine/container/index.ts";
import type { EventFeed } from "../engine/events/index.ts";
import type { ImageContext } from "../engine/image/index.ts";
import type { SandboxContext } from "../engine/sandbox/index.ts";

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
  /** The network of the default handler. The readiness of the node depends on it. */
  readonly network: PodNetwork;
  /** The cgroup driver. */
  readonly cgroupDriver: "cgroupfs" | "systemd";
  /** The features of each handler. The first call waits for the answers of the runtimes, at most 5 s. */
  readonly handlers: () => Promise<readonly HandlerFeatures[]>;
  /** Additional JSON values for the verbose Status, by key. */
  readonly describe: () => Readonly<Record<string, unknown>>;
  readonly log: Logger;
}

/** The call that an RPC serves. */
export interface RpcCall {
  /** Aborted when the caller has disconnected. */
  readonly signal: AbortSignal;
  /** The encoded request, for the database. */
  readonly requestBytes: Uint8Array;
  /** Tells the client that a stream of answers is open, before its first answer. */
  open(): void;
}
