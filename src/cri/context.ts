import type { Logger } from "../base/logger.ts";
import type { HandlerFeatures } from "../core/handler/index.ts";
import type { PodNetwork } from "../core/network/index.ts";
import type { StreamUrls } from "../core/streaming/index.ts";
import type { StatsReader } from "../core/stats/index.ts";
import type { ContainerContext } from "../engine/container/index.ts";
import type { ImageContext } from "../engine/image/index.ts";
import type { SandboxContext } from "../engine/sandbox/index.ts";

/** What the RPCs work with. Made once, in the composition root. */
export interface CriContext {
  /** Of this build of davit. */
  readonly version: string;
  /** No answer may be longer: clients refuse it (gRPC's limit, 16 MiB in kubelet and crictl). */
  readonly maxMessageBytes: number;
  readonly sandboxes: SandboxContext;
  readonly containers: ContainerContext;
  readonly images: ImageContext;
  /** Hands out the addresses of the streaming server. */
  readonly urls: StreamUrls;
  readonly stats: StatsReader;
  /** The network of the default handler: what the node's readiness depends on. */
  readonly network: PodNetwork;
  /** Who makes cgroups. */
  readonly cgroupDriver: "cgroupfs" | "systemd";
  /** What each handler can do: waits for the answers of the runtimes, 5 s at most, once in its life. */
  readonly handlers: () => Promise<readonly HandlerFeatures[]>;
  /** Facts for the verbose Status, as JSON values by key. */
  readonly describe: () => Readonly<Record<string, unknown>>;
  readonly log: Logger;
}

/** What an RPC knows of the call that it serves. */
export interface RpcCall {
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
  /** The request as it came, for the record. */
  readonly requestBytes: Uint8Array;
}
