import type { Config } from "../../config/config.ts";
import type { ContainerContext } from "../../engine/container/index.ts";
import type { SandboxContext } from "../../engine/sandbox/index.ts";
import { EngineTargets } from "../../engine/streaming/index.ts";
import { connectLoopback } from "../../linux/stream/index.ts";
import { StreamingServer } from "../../streaming/index.ts";

/** Serves the streams of exec, attach and port-forward. Close it before the engine that it leads to. */
export function openStreaming(
  config: Config,
  deps: {
    readonly containers: ContainerContext;
    readonly sandboxes: SandboxContext;
  },
): Promise<StreamingServer> {
  const { containers, sandboxes } = deps;
  const { clock, log } = containers;
  const targets = new EngineTargets({ containers, sandboxes, connect: connectLoopback });
  return StreamingServer.open({ config: config.streaming, targets, log, clock });
}
