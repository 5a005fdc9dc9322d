import { RuntimeError } from "../../base/errors.ts";
import type { PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** The annotation of a pod with the name of its container after whose end the pod is removed. */
export const removeAfterAnnotation = "davit.remove-after";

/** What kubelet sets on the pods that it runs: where it has them from (kubelet's ConfigSourceAnnotationKey). */
const kubeletAnnotation = "kubernetes.io/config.source";

type Annotated = Pick<PodSandboxConfig, "annotations">;

/** Refuses a new pod whose annotation names no container: `invalid-argument`. */
export function checkRemoveAfter({ annotations }: Annotated): void {
  if (annotations[removeAfterAnnotation] !== "") return;
  throw new RuntimeError(
    "invalid-argument",
    `check sandbox config: annotation "${removeAfterAnnotation}" must be the name of a container, got ""`,
  );
}

/**
 * The name of the container after whose end a pod is removed; undefined for a pod that stays. A pod of kubelet stays: its
 * annotations are those of a tenant, and kubelet needs the status of what has ended. Never throws, since an earlier davit
 * has recorded pods without a check.
 */
export function removedAfter({ annotations }: Annotated): string | undefined {
  if (annotations[kubeletAnnotation] !== undefined) return undefined;
  const name = annotations[removeAfterAnnotation];
  return name === "" ? undefined : name;
}
