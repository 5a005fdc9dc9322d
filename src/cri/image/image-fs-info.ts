import type { MessageInitShape } from "@bufbuild/protobuf";
import * as images from "../../engine/image/index.ts";
import type { ImageFsInfoResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** ImageFsInfo: the disk usage of images. The writable layers of containers are on the same file system. */
export function imageFsInfo(
  context: CriContext,
): MessageInitShape<typeof ImageFsInfoResponseSchema> {
  const { bytes, inodes, directory, takenAtNs } = images.imageFsUsage(context.images);
  const usage = {
    timestamp: takenAtNs,
    fsId: { mountpoint: directory },
    usedBytes: { value: bytes },
    inodesUsed: { value: inodes },
  };
  return { imageFilesystems: [usage], containerFilesystems: [usage] };
}
