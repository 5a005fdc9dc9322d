import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** The annotation of a pod with the name of its container after whose end the pod is removed. */
export const removeAfterAnnotation = "davit.remove-after";

/**
 * The name of the container after whose end a pod is removed; `undefined` for a pod that stays. `invalid-argument` for
 * an empty name.
 */
export function removedAfter({
  annotations,
}: Pick<PodSandboxConfig, "annotations">): string | undefined {
  const name = annotations[removeAfterAnnotation];
  if (name !== "") return name;
  throw new RuntimeError(
    "invalid-argument",
    `check sandbox config: annotation "${removeAfterAnnotation}" must be the name of a container, got ""`,
  );
}
