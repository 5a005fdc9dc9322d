import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../base/logger.ts";
import type { Snapshots } from "../../core/checkpoint/index.ts";
import { capturePod } from "../../engine/checkpoint/index.ts";
import type { ContainerContext } from "../../engine/container/index.ts";
import type { SnapshotContext } from "../../engine/snapshot/index.ts";
import type { LiveConfig } from "../process/live-config.ts";

/** The snapshots of a daemon. Their code is loaded when they are used first, or at the start if there are some. */
interface BuiltSnapshots {
  readonly open: () => Promise<SnapshotContext>;
  /** As Snapshots.imageDigests. */
  readonly imageDigests: () => ReadonlySet<string>;
  /** Removes what an earlier daemon did not finish, and loads the digests of images. */
  readonly begin: () => Promise<void>;
}

const none: ReadonlySet<string> = new Set();

/** Builds the snapshots. `contextOf` is called when they are used. */
export function snapshotsOf(
  live: LiveConfig,
  contextOf: () => ContainerContext,
  log: Logger,
): BuiltSnapshots {
  let opened: Snapshots | undefined;
  let opening: Promise<Snapshots> | undefined;
  const openStore = async (): Promise<Snapshots> => {
    opening ??= load(live, log);
    opened = await opening;
    return opened;
  };
  return {
    open: async () => {
      const context = contextOf();
      const { store: containers, sandboxes, operations } = context;
      const snapshots = await openStore();
      const trust = live.value.checkpoint.restore;
      const capture: SnapshotContext["capture"] = (request, signal) =>
        capturePod(context, request, signal);
      return { snapshots, containers, sandboxes, operations, capture, trust, log };
    },
    imageDigests: () => opened?.imageDigests ?? none,
    begin: async () => {
      if (!existsSync(join(live.value.root, "checkpoints", "snapshots"))) return;
      const snapshots = await openStore();
      for (const line of await snapshots.sweep()) log.warn(`removed an orphan: ${line}`);
    },
  };
}

async function load(live: LiveConfig, log: Logger): Promise<Snapshots> {
  const { SnapshotStore } = await import("../../drivers/checkpoint/index.ts");
  const { root, checkpoint } = live.value;
  return new SnapshotStore({ root, maxBytes: checkpoint.maxBytes, log });
}
