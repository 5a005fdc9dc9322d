import { type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { Snapshot } from "../../core/checkpoint/index.ts";
import type { SnapshotSchema } from "../../gen/davit/v1/checkpoints_pb.ts";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";

/** A snapshot in davit's own API. */
export function davitSnapshot(snapshot: Snapshot): MessageInitShape<typeof SnapshotSchema> {
  const { sizeBytes, directory, config, containers, ...same } = snapshot;
  return {
    ...same,
    size: sizeBytes,
    path: directory,
    config: toBinary(PodSandboxConfigSchema, config),
    containers: containers.map(({ name, image, config: own }) => ({
      name,
      image,
      config: toBinary(ContainerConfigSchema, own),
    })),
  };
}
