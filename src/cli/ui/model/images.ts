import type { JsonValue } from "@bufbuild/protobuf";
import type { Container, Image, PodSandbox } from "../../../gen/runtime/v1/api_pb.ts";
import type { ImageView } from "../../../page/view.ts";
import { containerPath, joinPods } from "../../objects/find.ts";
import { member } from "../../output/cri-message.ts";

/** The images, largest first, with the layers they share and the containers that use them. */
export function buildImages(
  images: readonly Image[],
  layersOf: (id: string) => readonly string[],
  {
    pods,
    containers,
  }: { readonly pods: readonly PodSandbox[]; readonly containers: readonly Container[] },
): readonly ImageView[] {
  const counts = new Map<string, number>();
  for (const { id } of images) {
    for (const layer of new Set(layersOf(id))) counts.set(layer, (counts.get(layer) ?? 0) + 1);
  }
  const users = joinPods(containers, pods);
  return images
    .map((image) => {
      const names = new Set([image.id, ...image.repoTags, ...image.repoDigests]);
      return {
        id: image.id,
        names: [...image.repoTags, ...image.repoDigests],
        size: Number(image.size),
        pinned: image.pinned,
        layers: layersOf(image.id).map((diffId) => ({ diffId, images: counts.get(diffId) ?? 1 })),
        usedBy: users
          .filter(({ container: { imageId, imageRef, image: named } }) =>
            [imageId, imageRef, named?.image ?? ""].some((name) => names.has(name)),
          )
          .map(containerPath),
      };
    })
    .toSorted((a, b) => b.size - a.size);
}

/** The diff ids in the verbose status of an image, whose info has the image's config as containerd's does. */
export function layersIn(info: JsonValue | undefined): readonly string[] {
  const ids = member(member(member(info, "imageSpec"), "rootfs"), "diff_ids");
  return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
}
