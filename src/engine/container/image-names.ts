import type { CheckedConfig, ContainerImage } from "../../core/container/index.ts";
import {
  formatReference,
  type Image,
  type ImageReference,
  type ImageStore,
  repositoryName,
} from "../../core/image/index.ts";

/**
 * The names of a container's image. An image may have names of several repositories; those that the client knows
 * are preferred: the tag or digest that it specified, if the image has it, then a digest of the same repository.
 */
export function imageNames(
  images: Pick<ImageStore, "referenceOf">,
  { id, repoTags, repoDigests }: Pick<Image, "id" | "repoTags" | "repoDigests">,
  { image: requested, userSpecifiedImage }: CheckedConfig["image"],
): Pick<ContainerImage, "id" | "requested" | "shown" | "ref"> {
  const reference = referenceOf(images, userSpecifiedImage || requested);
  const given = reference && formatReference(reference);
  const ofRepository = reference && `${repositoryName(reference)}@`;
  const digest =
    repoDigests.find((name) => name === given) ??
    repoDigests.find((name) => ofRepository !== undefined && name.startsWith(ofRepository));
  return {
    id,
    requested,
    shown: repoTags.find((name) => name === given) ?? digest ?? repoTags[0] ?? repoDigests[0] ?? id,
    ref: digest ?? repoDigests[0] ?? id,
  };
}

/** Undefined for an id, and for a text that names no image: the user's name need not be one. */
function referenceOf(
  images: Pick<ImageStore, "referenceOf">,
  name: string,
): ImageReference | undefined {
  try {
    return images.referenceOf(name);
  } catch {
    return undefined;
  }
}
