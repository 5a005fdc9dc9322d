import type { MessageInitShape } from "@bufbuild/protobuf";
import { hasDigest, type Image } from "../../core/image/index.ts";
import type { ImageSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";

/** The annotation of an artifact with its type: the CRI has no field for it. */
const artifactAnnotation = "davit.artifact.type";
/** That of an image of a checkpoint, with the name of its container, as checkpointctl writes it into the image. */
const checkpointAnnotation = "org.criu.checkpoint.container.name";

/**
 * An image in the CRI. Either `uid` or `username` is set, as kubelet requires (runAsNonRoot). `needed` are the images
 * that are pinned, because kubelet's image collection only knows those that containers run.
 */
export function criImage(
  image: Image,
  needed: ReadonlySet<string>,
): MessageInitShape<typeof ImageSchema> {
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: image.sizeBytes,
    ...criUser(image.config.user),
    spec: {
      image: image.repoTags[0] ?? image.repoDigests[0] ?? image.id,
      annotations: {
        ...(image.artifactType !== undefined && { [artifactAnnotation]: image.artifactType }),
        ...(image.checkpointOf !== undefined && { [checkpointAnnotation]: image.checkpointOf }),
      },
    },
    pinned: image.pinned || hasDigest(image, needed),
  };
}

/** The ids of images that containers have as volumes, and the digests of those that snapshots need. */
export function neededImages({
  containers,
  images,
}: Pick<CriContext, "containers" | "images">): ReadonlySet<string> {
  const needed = new Set(images.neededBySnapshots());
  for (const { imageVolumes } of containers.store.all())
    for (const { image } of imageVolumes) needed.add(image);
  return needed;
}

// -1 means "leave it" to setresuid(2).
const maxUid = 0xffff_fffen;

/** The user of `USER`, without its group: a number is a uid, empty is root, anything else a name. */
function criUser(user: string): { uid: { value: bigint } } | { username: string } {
  const name = user.split(":")[0] ?? "";
  if (name === "") return { uid: { value: 0n } };
  // A number above all ids may not fit into int64, and must not prevent the other images from being listed.
  const isUid = /^\d+$/.test(name) && BigInt(name) <= maxUid;
  return isUid ? { uid: { value: BigInt(name) } } : { username: name };
}
