import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ImageFsInfoResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/**
 * The space that images take, from memory: kubelet's eviction asks often. Containers' writable
 * layers are on the same file system.
 */
export function imageFsInfo(
  context: CriContext,
): MessageInitShape<typeof ImageFsInfoResponseSchema> {
  const { bytes, inodes } = context.images.layers.usage();
  const usage = {
    timestamp: context.images.clock.nowNs(),
    fsId: { mountpoint: context.images.layers.directory },
    usedBytes: { value: bytes },
    inodesUsed: { value: inodes },
  };
  return { imageFilesystems: [usage], containerFilesystems: [usage] };
}
