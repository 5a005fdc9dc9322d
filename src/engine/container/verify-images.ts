import type { Digest } from "../../base/digest.ts";
import type { CheckedConfig, Container, ContainerImageVolume } from "../../core/container/index.ts";
import type { Image, ImageStore } from "../../core/image/index.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "./context.ts";

type VerifyContext = Pick<ContainerContext, "images" | "verification">;

/** Rejects the create of a container whose image, or an image volume of it, no policy allows. */
export async function verifyImages(
  context: VerifyContext,
  plan: {
    readonly config: CheckedConfig;
    readonly sandbox: Sandbox;
    readonly image: Pick<Image, "id">;
    readonly volumes: { readonly images: readonly ContainerImageVolume[] };
  },
  operation: RunningOperation,
): Promise<void> {
  if (context.verification === undefined) return;
  const { image, config, volumes, sandbox } = plan;
  const used = { config, id: image.id, volumes: volumes.images, sandbox };
  await verifyAll(context, used, operation);
}

/** Rejects the start of a container whose images the policies of now do not allow. */
export async function verifyImagesAgain(
  context: VerifyContext & Pick<ContainerContext, "sandboxes">,
  { config, image, imageVolumes, sandboxId }: Container,
  operation: RunningOperation,
): Promise<void> {
  if (context.verification === undefined) return;
  const sandbox = context.sandboxes.get(sandboxId);
  const used = { config, id: image.id, ref: image.ref, volumes: imageVolumes, sandbox };
  await verifyAll(context, used, operation);
}

interface Used {
  readonly config: Pick<Container["config"], "image" | "mounts">;
  /** Of the container's image, with one of its names in case the image was removed. */
  readonly id: Digest;
  readonly ref?: string;
  readonly volumes: readonly ContainerImageVolume[];
  readonly sandbox: Sandbox;
}

async function verifyAll(
  { images, verification }: VerifyContext,
  { config, id, ref, volumes, sandbox }: Used,
  operation: RunningOperation,
): Promise<void> {
  await operation.enter("verify-image");
  const namespace = sandbox.config.metadata?.namespace ?? "";
  const mounts = config.mounts.flatMap(({ image }) => (image === undefined ? [] : [image]));
  const all = [
    { id, ref, spec: config.image },
    ...volumes.map((volume, at) => ({ id: volume.image, ref: undefined, spec: mounts[at] })),
  ];
  for (const { id: image, ref: knownAs, spec } of all) {
    const name = nameOf(images, image, [spec?.userSpecifiedImage, spec?.image]);
    const known = images.find(image) ?? {
      id: image,
      repoTags: [],
      repoDigests: knownAs?.includes("@") === true ? [knownAs] : [],
    };
    const doing = `verify image "${name === "" ? image : name}"`;
    await verification?.atUse(doing, known, { name, namespace }, operation.signal);
  }
}

/** The full name of the first text that names this image; empty if none does, for example because all are ids. */
function nameOf(
  images: Pick<ImageStore, "find" | "nameOf">,
  image: Digest,
  texts: readonly (string | undefined)[],
): string {
  for (const text of texts) {
    if (text === undefined || text === "") continue;
    try {
      const name = images.nameOf(text);
      if (name !== undefined && images.find(name)?.id === image) return name;
    } catch {
      // The user's name need not be one.
    }
  }
  return "";
}
