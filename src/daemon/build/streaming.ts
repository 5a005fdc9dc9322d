import type { StreamUrls } from "../../core/streaming/index.ts";
import type { ContainerContext } from "../../engine/container/index.ts";
import type { SandboxContext } from "../../engine/sandbox/index.ts";
import { EngineTargets } from "../../engine/streaming/index.ts";
import { connectLoopback } from "../../linux/stream/index.ts";
import { StreamingServer, type StreamingServerOptions } from "../../streaming/index.ts";
import type { LiveConfig } from "../process/live-config.ts";

/** The server for streams and the addresses that it gives out. Close it before the engine that it leads to. */
export interface Streaming extends StreamUrls, AsyncDisposable {
  readonly sessions: StreamingServer["sessions"];
}

/** The default of `streaming.address`, and the only one that each node has. */
const loopback = "127.0.0.1";

/**
 * Serves the streams of exec, attach and port-forward. A server on any free port of the loopback is opened with the first
 * address that a client asks for. Any other is opened now, and rejects here: its port may be in use, its certificate wrong,
 * and its address not one of the node.
 */
export async function openStreaming(
  live: LiveConfig,
  deps: {
    readonly containers: ContainerContext;
    readonly sandboxes: SandboxContext;
  },
): Promise<Streaming> {
  const { containers, sandboxes } = deps;
  const { clock, log } = containers;
  const targets = new EngineTargets({ containers, sandboxes, connect: connectLoopback });
  const config = {
    ...live.value.streaming,
    get idleTimeoutSeconds() {
      return live.value.streaming.idleTimeoutSeconds;
    },
    get creationTimeoutSeconds() {
      return live.value.streaming.creationTimeoutSeconds;
    },
  };
  const streaming = new LateServer({ config, targets, log, clock });
  if (config.port !== 0 || config.tls || config.address !== loopback) await streaming.opened();
  return streaming;
}

/** A server that is opened with its first use. */
class LateServer implements Streaming {
  readonly #options: StreamingServerOptions;
  #opening: Promise<StreamingServer> | undefined;
  #server: StreamingServer | undefined;

  constructor(options: StreamingServerOptions) {
    this.#options = options;
  }

  get sessions(): StreamingServer["sessions"] {
    return this.#server?.sessions ?? { exec: 0, attach: 0, portforward: 0 };
  }

  async exec(...request: Parameters<StreamingServer["exec"]>): Promise<string> {
    return (await this.opened()).exec(...request);
  }

  async attach(...request: Parameters<StreamingServer["attach"]>): Promise<string> {
    return (await this.opened()).attach(...request);
  }

  async portForward(...request: Parameters<StreamingServer["portForward"]>): Promise<string> {
    return (await this.opened()).portForward(...request);
  }

  /** Opens the server if it is not open. After a failure, such as one for a lack of descriptors, the next call tries again. */
  async opened(): Promise<StreamingServer> {
    this.#opening ??= StreamingServer.open(this.#options);
    try {
      this.#server = await this.#opening;
      return this.#server;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = await this.#opening?.catch(() => undefined);
    await server?.[Symbol.asyncDispose]();
  }
}
