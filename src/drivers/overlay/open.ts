import { landlockVersion, type OwnProgram } from "../../linux/process/index.ts";
import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import { OverlayChanges } from "./changes.ts";
import { hostBootId } from "../../linux/host/index.ts";
import { OverlayChecker } from "./checker.ts";
import { LateSync } from "./late-sync.ts";
import type { LayerFormat } from "./layer-facts.ts";
import type { VerityMode } from "./verity-mode.ts";
import { OverlayLayers } from "./overlay-layers.ts";
import { OverlayPacker } from "./packer.ts";
import { OverlayRoots } from "./overlay-roots.ts";
import { StateLayout } from "./state-layout.ts";
import { Trash } from "./trash.ts";
import type { UnpackTurnsOptions } from "./unpack-turns.ts";
import { defaultUnpackerCommand } from "./unpacker.ts";
import { UnpackerProcesses } from "./unpacker-processes.ts";

/** What layers and roots need. */
export interface OverlayDeps {
  /** Directory for layers, and for roots unless they are elsewhere. */
  readonly root: string;
  /**
   * Directory for roots on another file system; empty or not given for none. Overlayfs must accept the file
   * system of the roots as its upper one.
   */
  readonly writableRoot?: string;
  /** The first project id for limits of writable layers; not given if none has a limit. */
  readonly firstProject?: number | undefined;
  /** Deletes in the background. To be closed before {@link OverlayRoots.close}. */
  readonly tasks: TaskGroup;
  readonly log: Logger;
  /** That of the host, if not given. */
  readonly bootId?: string;
  /** How long after its end the files of a layer are written to the disk, if not the default. */
  readonly syncDelayMs?: number;
  /** How to start the unpacker; this same program if not given. */
  readonly unpacker?: OwnProgram;
  /** How to start the packer; this same program if not given. */
  readonly packer?: OwnProgram;
  /** How long an unpacker waits for the next layer, if not the default. */
  readonly unpackerIdleMs?: number;
  /** How many unpackers may run, if not the default. */
  readonly turns?: Partial<UnpackTurnsOptions>;
  /** How long an unpacker may make no progress, 300 s if not given. */
  readonly stallMs?: number;
  /** How new layers are stored, if the machine supports it; in directories if not given. */
  readonly format?: LayerFormat;
  /** Whether images of layers have fs-verity; where the machine can if not given. */
  readonly verity?: VerityMode;
  /** Mounts as on a kernel before 6.7, for tests. */
  readonly asOldKernel?: boolean;
}

/** Layers, and roots on them, in one directory. */
export interface Overlay {
  readonly layers: OverlayLayers;
  readonly roots: OverlayRoots;
  readonly packer: OverlayPacker;
  readonly checker: OverlayChecker;
  readonly changes: OverlayChanges;
}

/** Makes the directories and reads the layers in them. Nothing is removed before the sweeps. */
export async function openOverlay(deps: OverlayDeps): Promise<Overlay> {
  const { log, asOldKernel = false, writableRoot = "", firstProject } = deps;
  if (landlockVersion() === 0) {
    log.info("this kernel has no Landlock: the programs that read images are limited without it");
  }
  const paths = new StateLayout(deps.root);
  const trash = new Trash(deps.tasks, log);
  const { bootId = hostBootId(), tasks, syncDelayMs: delayMs } = deps;
  const late = new LateSync({ directory: paths.layers, bootId, tasks, log, delayMs });
  const layers = await OverlayLayers.open({
    paths,
    trash,
    late,
    bootId,
    log,
    unpackers: new UnpackerProcesses(
      deps.unpacker ?? defaultUnpackerCommand(),
      deps.unpackerIdleMs,
    ),
    turns: deps.turns ?? {},
    stallMs: deps.stallMs ?? 300_000,
    format: deps.format ?? "directory",
    verity: deps.verity ?? "auto",
  });
  const roots = await OverlayRoots.open({
    paths,
    trash,
    layers,
    log,
    writableRoot,
    firstProject,
    asOldKernel,
  });
  const packer = new OverlayPacker({ paths, layers, command: deps.packer });
  const checker = new OverlayChecker({ paths, layers, packer });
  const changes = new OverlayChanges({ paths, layers, asOldKernel, command: deps.packer });
  return { layers, roots, packer, checker, changes };
}
