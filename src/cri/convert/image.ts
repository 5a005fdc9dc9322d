import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Digest } from "../../base/digest.ts";
import type { Container } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { ImageSchema } from "../../gen/runtime/v1/api_pb.ts";

/** The annotation of an artifact with its type: the CRI has no field for it. */
const artifactAnnotation = "davit.artifact.type";

/**
 * An image in the CRI. Either `uid` or `username` is set, as kubelet requires (runAsNonRoot). `mounted` are the
 * images that containers have as volumes: they are pinned, because kubelet's image collection only knows the
 * images that containers run.
 */
export function criImage(
  image: Image,
  mounted: ReadonlySet<Digest>,
): MessageInitShape<typeof ImageSchema> {
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: image.sizeBytes,
    ...criUser(image.config.user),
    spec: {
      image: image.repoTags[0] ?? image.repoDigests[0] ?? image.id,
      ...(image.artifactType !== undefined && {
        annotations: { [artifactAnnotation]: image.artifactType },
      }),
    },
    pinned: image.pinned || mounted.has(image.id),
  };
}

/** The images that these containers have as volumes. */
export function mountedImages(
  containers: Iterable<Pick<Container, "imageVolumes">>,
): ReadonlySet<Digest> {
  const mounted = new Set<Digest>();
  for (const { imageVolumes } of containers)
    for (const { image } of imageVolumes) mounted.add(image);
  return mounted;
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
