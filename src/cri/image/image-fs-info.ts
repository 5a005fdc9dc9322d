import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Usage } from "../../core/snapshot/index.ts";
import * as images from "../../engine/image/index.ts";
import type { ImageFsInfoResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/**
 * ImageFsInfo: the disk usage of images, and of the writable layers of containers where they are on a file
 * system of their own (KEP-4191). Otherwise both are the same entry, from which kubelet sees that they share one.
 */
export async function imageFsInfo({
  images: context,
  containers: { roots },
}: Pick<CriContext, "images" | "containers">): Promise<
  MessageInitShape<typeof ImageFsInfoResponseSchema>
> {
  const { takenAtNs, directory, ...used } = images.imageFsUsage(context);
  const usage = (mountpoint: string, { bytes, inodes }: Usage) => ({
    timestamp: takenAtNs,
    fsId: { mountpoint },
    usedBytes: { value: bytes },
    inodesUsed: { value: inodes },
  });
  const separate = await roots.separateUsage();
  const ofImages = usage(directory, used);
  const ofContainers = separate === undefined ? ofImages : usage(roots.directory, separate);
  return { imageFilesystems: [ofImages], containerFilesystems: [ofContainers] };
}
