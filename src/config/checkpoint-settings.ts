// The settings of [checkpoint]: checkpoints of containers and pods.
import type { CheckpointConfig } from "./config.ts";
import { choice, flag, integer, type Section } from "./setting.ts";

const GIB = 1024 * 1024 * 1024;

/** `[checkpoint]`. */
export const checkpoint: Section<CheckpointConfig> = {
  restore: choice({
    of: ["off", "own", "any"],
    default: "own",
    doc: "Which checkpoints can be restored: off for none, own for those that this node has made and nobody has changed, any for all. A checkpoint contains processes with their privileges: whoever made it can do on this node what root can.",
  }),
  restoreContainers: flag({
    default: false,
    doc: "true: the image of a new container can be a checkpoint, the path of an archive on this node or an OCI image of one, as in CRI-O. Experimental.",
  }),
  maxBytes: integer({
    default: 64 * GIB,
    min: 1024 * 1024,
    max: Number.MAX_SAFE_INTEGER,
    limits: "at least 1048576 (1 MiB)",
    doc: "Maximum size of one checkpoint that is restored, unpacked, in bytes.",
  }),
};
