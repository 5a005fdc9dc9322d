import type { Container } from "../../gen/runtime/v1/api_pb.ts";
import { shortId } from "../output/figures.ts";
import type { Objects } from "./objects.ts";

/**
 * The name of the image of a container, or of its status: clients often create containers with the id
 * that a pull returned. `images` are the names by id; the short id if there is none.
 */
export function imageName(
  { imageId, imageRef, image }: Pick<Container, "imageId" | "imageRef" | "image">,
  images: ReadonlyMap<string, string>,
): string {
  const given = [image?.userSpecifiedImage ?? "", image?.image ?? ""].filter((name) => name !== "");
  const named = given.find((name) => !/^(sha256:)?[0-9a-f]{64}$/.test(name));
  if (named !== undefined) return named;
  return images.get(imageId) ?? images.get(imageRef) ?? shortId(given[0] ?? imageRef);
}

/** Image names by id; empty if the server does not list images. */
export async function imageNamesOf(objects: Objects): Promise<ReadonlyMap<string, string>> {
  const images = await objects.images().catch(() => []);
  return new Map(images.map(({ id, repoTags }) => [id, repoTags[0] ?? ""] as const));
}
