import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { formatReference } from "../../core/image/index.ts";
import type { ImageContext } from "./context.ts";
import { givenName } from "./load.ts";

/**
 * Gives an image one more name. A name that another image has moves to this one. `not-found` for an unknown
 * image, `invalid-argument` for a name with a digest.
 */
export function tagImage(
  { store }: Pick<ImageContext, "store">,
  source: string,
  target: string,
): { readonly id: Digest; readonly name: string } {
  const name = formatReference(givenName({ store }, target));
  const image = store.find(source);
  if (image === undefined) {
    throw new RuntimeError(
      "not-found",
      `tag image "${source}": it is not on this node; pull or load it`,
    );
  }
  store.put({ ...image, repoTags: [name] });
  return { id: image.id, name };
}
