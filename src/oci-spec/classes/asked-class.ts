import type { ClassOrigin } from "../../core/container/index.ts";
import type { ContainerConfig, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";

/** A class that a request names. */
export interface AskedClass {
  readonly name: string;
  readonly origin: ClassOrigin;
}

/**
 * The class of block I/O or RDT that annotations name, as containerd and CRI-O read them: the container's own
 * annotation, then the pod's for the container's name, then the pod's for all of its containers. Undefined
 * for none; an empty name is one of none as well.
 */
export function askedClass(
  kind: "blockio" | "rdt",
  container: Pick<ContainerConfig, "metadata" | "annotations">,
  pod: Pick<PodSandboxConfig, "annotations"> | undefined,
): AskedClass | undefined {
  const own = container.annotations[`io.kubernetes.cri.${kind}-class`];
  if (own !== undefined) return classOf(own, "container");
  const prefix = `${kind}.resources.beta.kubernetes.io`;
  const ofPod = pod?.annotations ?? {};
  const name = ofPod[`${prefix}/container.${container.metadata?.name ?? ""}`];
  return classOf(name ?? ofPod[`${prefix}/pod`] ?? "", "pod");
}

function classOf(name: string, origin: ClassOrigin): AskedClass | undefined {
  return name === "" ? undefined : { name, origin };
}
