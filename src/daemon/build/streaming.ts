import type { ContainerContext } from "../../engine/container/index.ts";
import type { SandboxContext } from "../../engine/sandbox/index.ts";
import { EngineTargets } from "../../engine/streaming/index.ts";
import { connectLoopback } from "../../linux/stream/index.ts";
import { StreamingServer } from "../../streaming/index.ts";
import type { LiveConfig } from "../process/live-config.ts";

/** Serves the streams of exec, attach and port-forward. Close it before the engine that it leads to. */
export function openStreaming(
  live: LiveConfig,
  deps: {
    readonly containers: ContainerContext;
    readonly sandboxes: SandboxContext;
  },
): Promise<StreamingServer> {
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
  return StreamingServer.open({ config, targets, log, clock });
}
